"""The rules: what is moved before an image is sampled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dorib import Embeddings, Rule, Step, TargetModel
from dorib_embedding_descent import DescentRuleParams, NoiseAdjustmentParams, NoiseRuleParams
from dorib_embedding_descent.descent import descend
from dorib_embedding_descent.first_step import first_input, lengths, share, sharpness


class DescendEmbeddings(Rule[DescentRuleParams]):
    """Moves all tokens' embeddings but the begin token's, on the very noise that will be used.

    A search's gradient passes as if what was added were constant. In the published code the begin
    token has no gradient and decays all the same, the loss is of the whole batch, and the
    last step's loss is not looked at.
    """

    acts_on = frozenset({"embeddings"})

    def embed(
        self, model: TargetModel, embeddings: Embeddings, noise: Tensor, samples: Tensor
    ) -> Embeddings:
        """Embeddings of an ordinary share; `pooled_prompt_embeds` stay as they are."""
        if not self.params.steps:
            return embeddings
        fixed = {name: value.detach() for name, value in embeddings.items()}
        prompt = fixed["prompt_embeds"]
        shown, timesteps = first_input(model, noise)
        with torch.no_grad():
            unconditional, _ = model.predict_both(shown, timesteps, fixed, samples)

        def losses(words: Tensor, places: Sequence[int]) -> Tensor:
            at = list(places)
            asked = {name: value[at] for name, value in fixed.items()}
            asked["prompt_embeds"] = torch.cat([prompt[at, :1], words.to(prompt.dtype)], dim=1)
            output = model.predict(shown[at], timesteps[at], asked, samples[at])
            return lengths(output - unconditional[at])

        words = descend(prompt[:, 1:], losses, self.params)
        added = torch.cat([torch.zeros_like(prompt[:, :1]), words - prompt[:, 1:]], dim=1)
        return {**embeddings, "prompt_embeds": embeddings["prompt_embeds"] + added}


class DescendNoise(Rule[NoiseRuleParams]):
    """Moves the initial noise; the published code has no cap on its steps."""

    acts_on = frozenset({"noise"})

    def start(
        self, model: TargetModel, noise: Tensor, embeddings: Embeddings, samples: Tensor
    ) -> Tensor:
        """Noise from which the prompt's share, or its sharpness, is an ordinary one."""

        def losses(values: Tensor, places: Sequence[int]) -> Tensor:
            at = list(places)
            asked = {name: value[at] for name, value in embeddings.items()}
            return noise_losses(model, values, asked, samples[at], self.params)

        return descend(noise, losses, self.params)


class AdjustNoise(Rule[NoiseAdjustmentParams]):
    """Moves the initial noise by finite differences, image by image, and guides late.

    Published for a whole batch at once; here each image has a length of its own.
    """

    acts_on = frozenset({"noise", "guidance"})

    def start(
        self, model: TargetModel, noise: Tensor, embeddings: Embeddings, samples: Tensor
    ) -> Tensor:
        """`x - strength (d(x + radius d / |d|) - d(x))`, as often as asked for."""
        for _ in range(self.params.repeats if self.params.strength else 0):
            here = share(model, noise, embeddings, samples)
            unit = here / lengths(here).clamp(min=1e-12).to(here.dtype).view(-1, 1, 1, 1)
            there = share(model, noise + self.params.radius * unit, embeddings, samples)
            noise = noise - self.params.strength * (there - here)
        return noise

    def guide(self, step: Step, unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
        """The suite's scale from `until` on."""
        early = float(step.timestep) > self.params.until * step.model.timesteps
        # As in sampling without a rule: below 1 there is no guidance, but the prompt alone.
        own = self.params.before if early else max(scale, 1.0)
        return unconditional + own * (conditional - unconditional)


def noise_losses(
    model: TargetModel,
    noise: Tensor,
    embeddings: Embeddings,
    samples: Tensor,
    params: NoiseRuleParams,
) -> Tensor:
    """The loss of each item, float32 `[B]`."""
    if params.loss == "sharpness":
        return sharpness(model, noise, embeddings, samples, params.penalty)
    return lengths(share(model, noise, embeddings, samples))
