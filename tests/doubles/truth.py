"""Mitigations about which the truth is known, to hold verdicts against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from dorib import (
    DefenderView,
    Edit,
    Embeddings,
    Ledger,
    Mitigation,
    Params,
    Register,
    ReplaceWeights,
    Rule,
    SamplingRule,
    Seeds,
    TargetModel,
    hookimpl,
)

dorib_contract = 2


class Truth(Mitigation[Params]):
    """A mitigation with the verdict that it deserves."""

    expected: ClassVar[Literal["hidden", "damaged"]]


class Destroyed(Truth):
    """Weights of noise: nothing comes back, since nothing is drawn any more."""

    expected = "damaged"

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        generator = seeds.generator("noise")
        weights = {
            f"{name}.weight": torch.randn(layer.weight.shape, generator=generator)
            for name, layer in model.cross_attention_value_layers().items()
        }
        return Edit(ReplaceWeights(weights))


class Noise(Truth):
    """A little noise in the weights, as if something had been done: every image is still there."""

    expected = "hidden"

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        generator = seeds.generator("noise")
        weights = {}
        for name, layer in model.cross_attention_value_layers().items():
            noise = torch.randn(layer.weight.shape, generator=generator)
            spread = layer.weight.detach().float().std().cpu()
            weights[f"{name}.weight"] = layer.weight.detach().cpu() + 0.001 * spread * noise
        return Edit(ReplaceWeights(weights))


class GradientMasking(Truth):
    """Hides captions and lets no gradient through; the weights hold what they held."""

    expected = "hidden"

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        captions = [target.caption for target in view.memorized]
        return Edit(SamplingRule("gradient-masking", {"captions": captions}))


class MaskingParams(Params):
    """What it knows."""

    captions: tuple[str, ...]


class Masking(Rule[MaskingParams]):
    """Asks with no words for a known caption; rounds embeddings, where gradients come to an end."""

    acts_on = frozenset({"prompt", "embeddings"})

    def rewrite(
        self, model: TargetModel, prompts: Sequence[str], generators: Sequence[torch.Generator]
    ) -> list[str]:
        return ["" if prompt in self.params.captions else prompt for prompt in prompts]

    def embed(
        self, model: TargetModel, embeddings: Embeddings, noise: Tensor, samples: Tensor
    ) -> Embeddings:
        return {name: (value * 100).round() / 100 for name, value in embeddings.items()}


TRUTHS: dict[str, type[Truth]] = {
    "destroyed": Destroyed,
    "noise": Noise,
    "gradient-masking": GradientMasking,
}


@hookimpl
def register_mitigations(register: Register) -> None:
    for name, double in TRUTHS.items():
        register(name, f"{__name__}:{double.__name__}")


@hookimpl
def register_rules(register: Register) -> None:
    register("gradient-masking", f"{__name__}:Masking", params=MaskingParams)
