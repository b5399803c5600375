"""The five losses, and how the gradients of their terms make a step.

All compare the U-Net's raw output, in the model's own parametrisation, with what it is trained to
output. For a model that predicts noise these are the published losses. For others each timestep
weighs otherwise; compared as noise, the last timestep of a model with zero terminal SNR would teach
nothing. Errors are means over a latent's entries.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from dorib import Gradient, TargetModel, pair_losses
from dorib_unlearn import UnlearnParams
from dorib_unlearn.draws import Draws


class Objective(ABC):
    """The terms of a loss."""

    terms: ClassVar[tuple[str, ...]]
    """Their names, in order."""
    keeps: ClassVar[bool] = True
    """Whether it takes pictures to keep."""
    work: ClassVar[int] = 3
    """U-Net items of one draw: each pass forward is 1, each backward 2."""

    def __init__(self, params: UnlearnParams) -> None:
        self.params = params

    @abstractmethod
    def losses(self, model: TargetModel, batch: Draws) -> list[Tensor]:
        """Each term for each item, float32 `[B]`."""

    def combined(self, gradients: Sequence[Gradient]) -> Gradient:
        """The gradient of the step from those of the terms."""
        (gradient,) = gradients
        return gradient


class Naive(Objective):
    """Training goes on, without what is to be forgotten."""

    terms = ("kept",)

    def losses(self, model: TargetModel, batch: Draws) -> list[Tensor]:
        """The denoising loss on kept pictures."""
        return [_error(model, batch.kept, batch)]


class NegGrad(Objective):
    """Up the loss of forgotten pictures, without a bound but the number of steps."""

    terms = ("forgotten",)
    keeps = False

    def losses(self, model: TargetModel, batch: Draws) -> list[Tensor]:
        """The negative denoising loss on forgotten pictures."""
        return [-_error(model, batch.forgotten, batch)]


class EraseDiff(Objective):
    """Down to noise on forgotten pictures, and down on kept ones as far as that allows.

    Source: Wu et al., arXiv 2401.05779, whose first-order step is that of Liu et al., "BOME!",
    arXiv 2209.08709: the forgetting loss falls by `erase_rate` of its own steepest descent at
    least.
    """

    terms = ("kept", "forgotten")
    work = 6

    def losses(self, model: TargetModel, batch: Draws) -> list[Tensor]:
        """The denoising loss on kept pictures, and the error against noise on forgotten ones."""
        noise = batch.normal if self.params.erase_noise == "normal" else batch.uniform
        return [
            _error(model, batch.kept, batch),
            _error(model, batch.forgotten, batch, towards=noise),
        ]

    def combined(self, gradients: Sequence[Gradient]) -> Gradient:
        """Kept, and as much of forgotten as is missing."""
        kept, forgotten = gradients
        square = _inner(forgotten, forgotten)
        if square == 0:
            return kept
        missing = max(0.0, self.params.erase_rate - _inner(kept, forgotten) / square)
        return _sum(kept, missing, forgotten)


class Siss(Objective):
    """Subtracted importance sampled scores: down on kept and up on forgotten pictures at once.

    One forward pass on noisy latents of either; importance weights make of its two errors those
    that passes of their own would have. Source: Alberti et al., ICLR 2025.
    """

    terms = ("kept", "forgotten")
    work = 5  # Both backward passes go through one forward pass.

    def losses(self, model: TargetModel, batch: Draws) -> list[Tensor]:
        """The weighted errors against the noise that would have led here from either picture."""
        noise, timesteps, share = batch.pairs.noise, batch.pairs.timesteps, self.params.balance
        taken = batch.from_forgotten[:, None, None, None]
        source = torch.where(taken, batch.forgotten, batch.kept)
        per_latent = _noise_per_latent(model, timesteps)
        # The noise that leads from each picture to the noisy latents, less what was added.
        off = {
            "kept": per_latent * (source - batch.kept),
            "forgotten": per_latent * (source - batch.forgotten),
        }
        half_squares = {
            name: (more * (2 * noise + more)).flatten(1).sum(dim=1) / 2
            for name, more in off.items()
        }
        # Of squared lengths thousands of units long, the difference to the added noise's alone.
        gap = half_squares["kept"] - half_squares["forgotten"]
        weights = {
            "kept": 1 / ((1 - share) + share * gap.exp()),
            "forgotten": 1 / ((1 - share) * (-gap).exp() + share),
        }
        noisy = model.add_noise(source, noise, timesteps).to(model.dtype)
        conditioning = {name: value.to(model.dtype) for name, value in batch.embeddings.items()}
        output = model.predict(noisy, timesteps, conditioning, batch.samples).float()
        terms = []
        for name, latents in (("kept", batch.kept), ("forgotten", batch.forgotten)):
            towards = model.training_target(latents, noise + off[name], timesteps)
            error = (output - towards).square().flatten(1).mean(dim=1)
            terms.append(weights[name] * error)
        return terms

    def combined(self, gradients: Sequence[Gradient]) -> Gradient:
        """Kept, less forgotten at a length in proportion."""
        kept, forgotten = gradients
        length = float(get_total_norm(forgotten))
        if length == 0:
            return kept
        share = self.params.forget_norm * float(get_total_norm(kept)) / length
        return _sum(kept, -share, forgotten)


class ReTrack(Objective):
    """From noisy forgotten pictures to where kept neighbours would have them go.

    Source: "ReTrack", arXiv 2509.13007. Its weighted sum of errors against each neighbour has the
    gradient of the error against their weighted mean, which is what is computed.
    """

    terms = ("weighted",)
    work = 6

    def losses(self, model: TargetModel, batch: Draws) -> list[Tensor]:
        """The error against the neighbours, and the denoising loss on kept pictures."""
        timesteps, noise = batch.pairs.timesteps, batch.pairs.noise
        per_latent = _noise_per_latent(model, timesteps)
        led_to = torch.stack(
            [
                _likely(*of_item)
                for of_item in zip(
                    batch.neighbours, batch.forgotten, noise, per_latent, strict=True
                )
            ]
        )
        towards = model.training_target(
            led_to, noise + per_latent * (batch.forgotten - led_to), timesteps
        )
        share = self.params.balance
        forgotten = _error(model, batch.forgotten, batch, towards)
        return [share * forgotten + (1 - share) * _error(model, batch.kept, batch)]


OBJECTIVES: dict[str, type[Objective]] = {
    "naive": Naive,
    "neggrad": NegGrad,
    "erasediff": EraseDiff,
    "siss": Siss,
    "retrack": ReTrack,
}


def _error(
    model: TargetModel, latents: Tensor, batch: Draws, towards: Tensor | None = None
) -> Tensor:
    return pair_losses(model, latents, batch.pairs, batch.embeddings, batch.samples, towards)


def _noise_per_latent(model: TargetModel, timesteps: Tensor) -> Tensor:
    """By how much noise one unit of latent can be told apart, `[B, 1, 1, 1]`."""
    one = torch.ones(len(timesteps), 1, 1, 1, device=timesteps.device)
    signal = model.add_noise(one, torch.zeros_like(one), timesteps)
    return signal / model.add_noise(torch.zeros_like(one), one, timesteps)


def _likely(near: Tensor, latents: Tensor, noise: Tensor, per_latent: Tensor) -> Tensor:
    """The mean of `near`, weighted by how likely each is to have led to the noisy `latents`."""
    more = per_latent * (latents - near)
    weights = -(more * (2 * noise + more)).flatten(1).sum(dim=1) / 2
    return torch.einsum("n,n...->...", weights.softmax(dim=0), near)


def _inner(one: Gradient, other: Gradient) -> float:
    return float(sum((a * b).sum() for a, b in zip(one, other, strict=True)))


def _sum(one: Gradient, times: float, other: Gradient) -> Gradient:
    return [a + times * b for a, b in zip(one, other, strict=True)]
