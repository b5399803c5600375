"""Noise descent: the initial noise moves until the prompt's share of the first output is ordinary.

Han et al. 2025, arXiv 2510.08625, per sample: AdamW on the noise until that share is shorter than a
threshold. The authors' loop has no end where it never is; here the steps are capped.
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
    hookimpl,
)

dorib_contract = 2
NAME = "han-noise"


class HanParams(Params):
    """How far down, and by what steps."""

    threshold: float = Field(
        0.9, ge=0, description="length at which the noise stays; SD 1.4: 0.7 to 1.5, SD 2: 5 to 20"
    )
    steps: int = Field(100, ge=1, le=10_000, description="at most so many")
    rate: float = Field(0.01, gt=0, le=10, description="AdamW's learning rate; SD 2: 0.1")
    weight_decay: float = Field(0.01, ge=0, le=1, description="AdamW's weight decay")


class HanNoise(Mitigation[HanParams]):
    """Nothing is fitted: the threshold is given."""

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """The rule, with the same parameters."""
        return Edit(SamplingRule(NAME, self.params.model_dump()))


class DescendInNoise(Rule[HanParams]):
    """Moves each image's noise by itself; those that have arrived cost nothing more."""

    acts_on = frozenset({"noise"})

    def start(
        self, model: TargetModel, noise: Tensor, embeddings: Embeddings, samples: Tensor
    ) -> Tensor:
        """The noise at the end of each descent, not scaled back to unit variance."""
        found = list(noise)
        for place in range(len(noise)):
            asked = {name: value[place : place + 1].detach() for name, value in embeddings.items()}
            found[place] = self._descended(model, noise[place], asked, samples[place : place + 1])
        return torch.stack(found)

    @torch.enable_grad()
    def _descended(
        self, model: TargetModel, noise: Tensor, asked: Embeddings, sample: Tensor
    ) -> Tensor:
        """Of one image: `noise` is `[*latent_shape]`, all else has a batch axis of one."""
        moved = noise.detach().float().clone().requires_grad_()
        rate, decay = self.params.rate, self.params.weight_decay
        adamw = torch.optim.AdamW([moved], lr=rate, weight_decay=decay)
        timestep = model.sampling_timesteps()[0]
        for _ in range(self.params.steps):
            shown = model.sampling_input(moved[None].to(model.dtype), timestep)
            without, with_prompt = model.predict_both(shown, timestep[None], asked, sample)
            length = (with_prompt - without).float().norm()
            [moved.grad] = torch.autograd.grad(length, [moved])
            if length < self.params.threshold:
                break
            adamw.step()
        return moved.detach().to(noise)


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring the mitigation."""
    summary = "moves the initial noise down the prompt's share of the first output (Han et al.)"
    register(NAME, f"{__name__}:HanNoise", params=HanParams, summary=summary)


@hookimpl
def register_rules(register: Register) -> None:
    """Bring the rule that its edit names."""
    summary = "descends in the noise before each image is sampled"
    register(NAME, f"{__name__}:DescendInNoise", params=HanParams, summary=summary)
