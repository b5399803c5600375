"""The losses of ESD and of concept ablation, on raw outputs in the model's own parametrisation.

Both compare outputs at one noisy latent. There, a noise prediction is a linear function of a raw
output, so that what is published for noise holds of velocities as it stands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dorib import Checkpoints, DefenderView, Seeds, TargetModel, pair_losses
from dorib_concept import ConceptParams
from dorib_concept.captions import anchors
from dorib_concept.lessons import Erased, Lessons, lessons


class Objective(ABC):
    """What a batch of lessons is trained towards."""

    def __init__(self, params: ConceptParams) -> None:
        self.params = params

    @abstractmethod
    def anchors(self, view: DefenderView, seeds: Seeds) -> list[str]:
        """For each memorized caption that which the model is to give in its place."""

    @abstractmethod
    def drawn(self, view: DefenderView, seeds: Seeds) -> list[str]:
        """For each memorized caption that of which pictures are drawn."""

    def ready(
        self,
        model: TargetModel,
        captions: Sequence[Erased],
        count: int,
        seeds: Seeds,
        checkpoints: Checkpoints,
    ) -> None:
        """Ask the untouched model what must be known of it for `count` lessons."""
        return

    @abstractmethod
    def terms(self, model: TargetModel, batch: Lessons) -> Mapping[str, Tensor]:
        """Scalars by name, whose sum is the loss."""


class Erasure(Objective):
    """ESD: away from what the caption adds to the output of the model as it was."""

    def anchors(self, view: DefenderView, seeds: Seeds) -> list[str]:
        """Nothing, beside what the caption adds to it."""
        return [""] * len(view.memorized)

    def drawn(self, view: DefenderView, seeds: Seeds) -> list[str]:
        """The caption itself: the model is corrected where it would go."""
        return [target.caption for target in view.memorized]

    def ready(
        self,
        model: TargetModel,
        captions: Sequence[Erased],
        count: int,
        seeds: Seeds,
        checkpoints: Checkpoints,
    ) -> None:
        """The outputs trained towards, `[count, *latent_shape]`: there is one model at a time."""
        state = checkpoints.load("towards")
        if state is None:
            size = self.params.drawn_together
            parts = [
                self._towards(
                    model, lessons(model, captions, range(n, min(n + size, count)), seeds)
                )
                for n in range(0, count, size)
            ]
            state = {"towards": torch.cat(parts)}
            checkpoints.save("towards", state)
        self._found: Tensor = state["towards"]

    def terms(self, model: TargetModel, batch: Lessons) -> Mapping[str, Tensor]:
        """The one published."""
        towards = self._found[batch.numbers.start : batch.numbers.stop].to(model.device)
        each = pair_losses(model, batch.latents, batch.pairs, batch.prompts, batch.samples, towards)
        return {"erased": each.mean()}

    @torch.no_grad()
    def _towards(self, model: TargetModel, batch: Lessons) -> Tensor:
        asked = {name: value.to(model.dtype) for name, value in batch.prompts.items()}
        shown = batch.noised(model)
        without, given = model.predict_both(shown, batch.pairs.timesteps, asked, batch.samples)
        added = given.float() - without.float()
        return (given.float() - self.params.strength * added).cpu()


class Ablation(Objective):
    """Concept ablation, model-based: the caption is to give what the model gives for its anchor."""

    def anchors(self, view: DefenderView, seeds: Seeds) -> list[str]:
        """As the parameter says.

        Raises:
            DoribError: general ones are asked for and there are none.
        """
        return anchors(self.params.anchor, view, seeds)

    def drawn(self, view: DefenderView, seeds: Seeds) -> list[str]:
        """The anchor: nothing of the memorized image is trained on."""
        return self.anchors(view, seeds)

    def terms(self, model: TargetModel, batch: Lessons) -> Mapping[str, Tensor]:
        """The distance from the anchor's output, which is no variable, and the anchor's own loss.

        One pass gives both, on the model under training, as published.
        """
        weight = self.params.prior_weight
        with torch.set_grad_enabled(weight > 0):
            anchored = batch.output(model, batch.anchors)
        pairs = batch.pairs
        clean = model.training_target(batch.latents, pairs.noise, pairs.timesteps).float()
        asked = batch.output(model, batch.prompts)
        return {
            "erased": (asked - anchored.detach()).square().mean(),
            "anchors": weight * (anchored - clean).square().mean(),
        }
