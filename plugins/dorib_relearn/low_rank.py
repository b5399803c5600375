"""Low-rank additions to attention weights, trained on top of whatever edit is in force."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dorib import Edit, LowRankFactors, TargetModel


class LowRank:
    """Adam on the factors of `W + up @ down` for the weights of all attention projections."""

    def __init__(
        self, model: TargetModel, rank: int, learning_rate: float, generator: torch.Generator
    ) -> None:
        """Draw `down` by `generator`.

        Raises:
            DoribError: the U-Net has no attention projections.
        """
        self._model = model
        self._factors = LowRankFactors(model.weights(), rank, generator, "attack relearn")
        self._adam = torch.optim.Adam(self._factors.all, lr=learning_rate)

    @property
    def edit(self) -> Edit:
        """The additions so far, on the CPU."""
        return Edit(self._factors.change)

    def step(self, losses: Callable[[], Tensor]) -> float:
        """One step on the mean of what `losses` gives under the additions; that mean.

        The gradients of the factors follow from those of the weights.
        """
        model = self._model
        # Summed over a latent's entries a gradient stays within half precision's range.
        entries = math.prod(model.latent_shape)
        # Copies each time: an edit that acts beside looks at the weights that are in place.
        with model.edited(self.edit), model.trainable_copy() as copies:
            layers = self._factors.by_layer
            trained = {layer: copies[f"{layer}.weight"].requires_grad_() for layer in layers}
            half = model.dtype != torch.float32
            with torch.autocast(model.device.type, model.dtype, enabled=half):
                loss = losses().mean()
            (loss * entries).backward()  # type: ignore[no-untyped-call]
            slopes = {}
            for layer, weight in trained.items():
                assert weight.grad is not None
                slopes[layer] = weight.grad / entries
            self._factors.take_gradients(slopes)
        self._adam.step()
        return float(loss.detach())
