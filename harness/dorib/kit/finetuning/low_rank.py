"""Low-rank additions to attention weights, trained by the gradients of the weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dorib.contracts.edits import AddLowRank
from dorib.errors import DoribError

PROJECTIONS = "to_q", "to_k", "to_v", "to_out.0"
"""Of an attention block: the layers that LoRA is usually put on."""


def attention_layers(names: Mapping[str, Tensor], method: str) -> list[str]:
    """The attention projections among the layers of a U-Net, in its parameters' order.

    Args:
        names: the U-Net's parameters by name.
        method: what a message names.

    Raises:
        DoribError: there are none.
    """
    weights = [name.removesuffix(".weight") for name in names if name.endswith(".weight")]
    ends = tuple(f".{projection}" for projection in PROJECTIONS)
    layers = [layer for layer in weights if layer.endswith(ends)]
    if not layers:
        raise DoribError(f"{method}: this U-Net has no attention projections to train")
    return layers


class LowRankFactors:
    """The factors of `W + up @ down` for the weights of all attention projections.

    `up` starts at 0 and `down` at Gaussian noise, so that the model starts as it is. Source: Hu et
    al., LoRA, arXiv 2106.09685.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], rank: int, generator: torch.Generator, method: str
    ) -> None:
        """Draw `down` by `generator`, for the U-Net's `weights` by name.

        Raises:
            DoribError: the U-Net has no attention projections.
        """
        self.by_layer: dict[str, tuple[Tensor, Tensor]] = {}
        for layer in attention_layers(weights, method):
            weight = weights[f"{layer}.weight"]
            down = torch.randn(rank, weight[0].numel(), generator=generator) / rank
            up = torch.zeros(weight.shape[0], rank, device=weight.device)
            self.by_layer[layer] = up, down.to(weight.device)

    @property
    def all(self) -> list[Tensor]:
        """Every factor, for an optimiser."""
        return [factor for both in self.by_layer.values() for factor in both]

    @property
    def change(self) -> AddLowRank:
        """The additions so far, copied to the CPU."""
        factors = self.by_layer.items()
        return AddLowRank({n: (up.cpu().clone(), down.cpu().clone()) for n, (up, down) in factors})

    def take_gradients(self, slopes: Mapping[str, Tensor]) -> None:
        """Work out the factors' gradients from those of the layers' weights, by layer."""
        for layer, (up, down) in self.by_layer.items():
            slope = slopes[layer].flatten(1)
            up.grad, down.grad = slope @ down.T, up.T @ slope
