"""Low-rank additions to attention weights, trained on top of whatever edit is in force."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dorib import AddLowRank, DoribError, Edit, TargetModel

PROJECTIONS = "to_q", "to_k", "to_v", "to_out.0"
"""Of an attention block: the layers that LoRA is usually put on."""


class LowRank:
    """Adam on the factors of `W + up @ down` for the weights of all attention projections.

    `up` starts at 0 and `down` at Gaussian noise, so that the model starts as it is. Source: Hu et
    al., LoRA, arXiv 2106.09685.
    """

    def __init__(
        self, model: TargetModel, rank: int, learning_rate: float, generator: torch.Generator
    ) -> None:
        """Draw `down` by `generator`.

        Raises:
            DoribError: the U-Net has no attention projections.
        """
        self._model = model
        self._factors: dict[str, tuple[Tensor, Tensor]] = {}
        for name, weight in model.weights().items():
            layer = name.removesuffix(".weight")
            if layer != name and layer.endswith(tuple(f".{one}" for one in PROJECTIONS)):
                down = torch.randn(rank, weight[0].numel(), generator=generator) / rank
                up = torch.zeros(weight.shape[0], rank, device=model.device)
                self._factors[layer] = up, down.to(model.device)
        if not self._factors:
            raise DoribError("attack relearn: this U-Net has no attention projections to train")
        factors = [factor for both in self._factors.values() for factor in both]
        self._adam = torch.optim.Adam(factors, lr=learning_rate)

    @property
    def edit(self) -> Edit:
        """The additions so far, on the CPU."""
        factors = self._factors.items()
        return Edit(
            AddLowRank({n: (up.cpu().clone(), down.cpu().clone()) for n, (up, down) in factors})
        )

    def step(self, losses: Callable[[], Tensor]) -> float:
        """One step on the mean of what `losses` gives under the additions; that mean.

        The gradients of the factors follow from those of the weights.
        """
        model = self._model
        # Summed over a latent's entries a gradient stays within half precision's range.
        entries = math.prod(model.latent_shape)
        # Copies each time: an edit that acts beside looks at the weights that are in place.
        with model.edited(self.edit), model.trainable_copy() as copies:
            trained = {layer: copies[f"{layer}.weight"].requires_grad_() for layer in self._factors}
            half = model.dtype != torch.float32
            with torch.autocast(model.device.type, model.dtype, enabled=half):
                loss = losses().mean()
            (loss * entries).backward()  # type: ignore[no-untyped-call]
            for layer, (up, down) in self._factors.items():
                slope = trained[layer].grad
                assert slope is not None
                slope = slope.flatten(1) / entries
                up.grad, down.grad = slope @ down.T, up.T @ slope
        self._adam.step()
        return float(loss.detach())
