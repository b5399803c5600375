"""Embedding descent: the prompt moves until its share of the first output is an ordinary one.

Wen et al. 2024, "Detecting, Explaining, and Mitigating Memorization in Diffusion Models", ICLR,
arXiv 2407.21720. As in the authors' code: AdamW on the prompt's embeddings, the begin token without
a gradient and yet under the weight decay, the threshold looked at before each step. The code
descends in the mean of a batch; here each image goes down by itself and stops by itself.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from dorib import (
    DefenderView,
    Edit,
    Embeddings,
    Ledger,
    Mitigation,
    Params,
    Register,
    Rule,
    SamplingRule,
    Seeds,
    TargetModel,
    first_step,
    hookimpl,
)

dorib_contract = 2
NAME = "wen-embeddings"


class WenParams(Params):
    """How far down, and by what steps."""

    threshold: float = Field(
        3.0, ge=0, description="length at which an image is left alone; SD 1.4: 3 to 7, SD 2: 50+"
    )
    steps: int = Field(10, ge=1, le=1000, description="at most so many")
    rate: float = Field(0.05, gt=0, le=10, description="AdamW's learning rate")
    weight_decay: float = Field(0.01, ge=0, le=1, description="AdamW's weight decay")


class WenEmbeddings(Mitigation[WenParams]):
    """Nothing is fitted: the threshold is given."""

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """The rule, with the same parameters."""
        return Edit(SamplingRule(NAME, self.params.model_dump()))


class DescendInEmbeddings(Rule[WenParams]):
    """Goes down on the very noise that sampling will start from."""

    acts_on = frozenset({"embeddings"})

    def embed(
        self, model: TargetModel, embeddings: Embeddings, noise: Tensor, samples: Tensor
    ) -> Embeddings:
        """The embeddings of the last step; a search's gradient passes what is added as constant."""
        fixed = {name: value.detach() for name, value in embeddings.items()}
        prompt = fixed["prompt_embeds"]
        # The unconditional output does not depend on the prompt: once is enough.
        first = first_step(model, noise, fixed, samples)
        words = [row.float().clone().requires_grad_() for row in prompt]
        adamw = torch.optim.AdamW(words, lr=self.params.rate, weight_decay=self.params.weight_decay)
        going = list(range(len(words)))
        for _ in range(self.params.steps):
            moving = [words[place] for place in going]
            asked = {name: value[going] for name, value in fixed.items()}
            timesteps = first.timestep.expand(len(going))
            with torch.enable_grad():
                asked["prompt_embeds"] = torch.stack(moving).to(prompt.dtype)
                output = model.predict(first.shown[going], timesteps, asked, samples[going])
                share = output.float() - first.unconditional[going].float()
                lengths = share.flatten(1).norm(dim=1)
                slopes = torch.autograd.grad(lengths.sum(), moving)
            arrived = (lengths <= self.params.threshold).tolist()
            for row, slope, there in zip(moving, slopes, arrived, strict=True):
                slope[0] = 0
                row.grad = None if there else slope
            # AdamW passes over what has no gradient.
            adamw.step()
            going = [place for place, there in zip(going, arrived, strict=True) if not there]
            if not going:
                break
        added = torch.stack(words).detach().to(prompt.dtype) - prompt
        return {**embeddings, "prompt_embeds": embeddings["prompt_embeds"] + added}


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring the mitigation."""
    summary = "moves embeddings down the prompt's share of the first output (Wen et al.)"
    register(NAME, f"{__name__}:WenEmbeddings", params=WenParams, summary=summary)


@hookimpl
def register_rules(register: Register) -> None:
    """Bring the rule that its edit names."""
    summary = "descends in the embeddings before each image is sampled"
    register(NAME, f"{__name__}:DescendInEmbeddings", params=WenParams, summary=summary)
