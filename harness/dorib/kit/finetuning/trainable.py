"""What of a U-Net is trained: all weights, attention's, or low-rank additions to these."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dorib.contracts.edits import AddLowRank, ReplaceWeights
from dorib.contracts.seeds import Seeds
from dorib.kit.finetuning.low_rank import LowRankFactors, attention_layers
from dorib.kit.finetuning.params import TrainingParams

_CROSS_ATTENTION = ".attn2."
"""In the names of its layers, as diffusers has them."""


class Trainable(ABC):
    """Tensors that an optimiser moves, and the weights of the model that follow them."""

    weights: Mapping[str, nn.Parameter]
    """Those of the U-Net that gradients are asked of, float32, by name."""
    moved: Mapping[str, Tensor]
    """What the optimiser moves, float32, by name."""

    @abstractmethod
    def gather(self) -> None:
        """Work out the gradients of what is moved from those of the weights."""

    @abstractmethod
    def put(self) -> None:
        """Let the weights follow what was moved."""

    @abstractmethod
    def change(self, dtype: torch.dtype) -> ReplaceWeights | AddLowRank:
        """What was trained, as an edit has it, on the CPU; whole weights in `dtype`."""


class WholeWeights(Trainable):
    """Weights that are trained themselves."""

    def __init__(self, weights: Mapping[str, nn.Parameter]) -> None:
        self.weights = weights
        self.moved = weights

    def gather(self) -> None:
        """They have their gradients."""

    def put(self) -> None:
        """They were moved."""

    def change(self, dtype: torch.dtype) -> ReplaceWeights:
        """Their new values."""
        return ReplaceWeights(
            {name: w.detach().to("cpu", dtype, copy=True) for name, w in self.weights.items()}
        )


class LowRankAdditions(Trainable):
    """Low-rank additions to the weights of attention projections."""

    def __init__(
        self,
        weights: Mapping[str, nn.Parameter],
        rank: int,
        generator: torch.Generator,
        method: str,
    ) -> None:
        self._factors = LowRankFactors(weights, rank, generator, method)
        layers = self._factors.by_layer
        self.weights = {f"{layer}.weight": weights[f"{layer}.weight"] for layer in layers}
        self.moved = {
            f"{layer}.{factor}": value
            for layer, both in layers.items()
            for factor, value in zip(("up", "down"), both, strict=True)
        }
        self._before = {name: weight.detach().clone() for name, weight in self.weights.items()}

    def gather(self) -> None:
        """Hand the weights' gradients on to the factors."""
        slopes = {}
        for layer in self._factors.by_layer:
            weight = self.weights[f"{layer}.weight"]
            assert weight.grad is not None
            slopes[layer], weight.grad = weight.grad, None
        self._factors.take_gradients(slopes)

    @torch.no_grad()
    def put(self) -> None:
        """The weights as they were, and the products of the factors."""
        for layer, (up, down) in self._factors.by_layer.items():
            before = self._before[f"{layer}.weight"]
            self.weights[f"{layer}.weight"].copy_(before + (up @ down).view_as(before))

    def change(self, dtype: torch.dtype) -> AddLowRank:
        """The factors, in float32 whatever `dtype`."""
        return self._factors.change


def trainable_of(
    weights: Mapping[str, nn.Parameter], params: TrainingParams, seeds: Seeds, method: str
) -> Trainable:
    """What `params` have trained of a U-Net's `weights`; `seeds` are for low-rank additions.

    Raises:
        DoribError: attention is asked for, and the U-Net has none.
    """
    if params.trainable == "all":
        return WholeWeights(weights)
    if params.trainable == "lora":
        return LowRankAdditions(weights, params.rank, seeds.generator("low rank"), method)
    layers = set(attention_layers(weights, method))
    if params.trainable == "cross-attention":
        layers = {layer for layer in layers if _CROSS_ATTENTION in layer}
    return WholeWeights({n: w for n, w in weights.items() if n.rpartition(".")[0] in layers})
