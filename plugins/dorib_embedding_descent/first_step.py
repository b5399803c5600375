"""What a prompt adds to the raw output at the first sampling step."""

from __future__ import annotations

import torch
from torch import Tensor

from dorib import Embeddings, TargetModel


def share(model: TargetModel, noise: Tensor, embeddings: Embeddings, samples: Tensor) -> Tensor:
    """The conditional raw output minus the unconditional one, `[B, *latent_shape]`.

    Raw whatever the parametrisation: at zero terminal SNR, converted to noise, it would be 0.
    `noise` `[B, *latent_shape]` is of unit variance.
    """
    shown, timesteps = first_input(model, noise)
    unconditional, conditional = model.predict_both(shown, timesteps, embeddings, samples)
    return conditional - unconditional


def first_input(model: TargetModel, noise: Tensor) -> tuple[Tensor, Tensor]:
    """What the U-Net is shown first, in the model's dtype, and the timestep of each item."""
    timestep = model.sampling_timesteps()[0]
    shown = model.sampling_input(noise.to(model.device, model.dtype), timestep)
    return shown, timestep.expand(len(noise))


def lengths(values: Tensor) -> Tensor:
    """Euclidean length of each item, float32 `[B]`."""
    found: Tensor = torch.linalg.vector_norm(values.float().flatten(1), dim=1)
    return found


def sharpness(
    model: TargetModel, noise: Tensor, embeddings: Embeddings, samples: Tensor, penalty: float
) -> Tensor:
    """Length of the share one unit along itself, and `penalty` of the noise's length, `[B]`.

    The direction is that of the noise at hand; in the published code it stays the initial one's.
    """
    with torch.no_grad():
        along = share(model, noise, embeddings, samples)
        along = along / lengths(along).clamp(min=1e-12).to(along.dtype).view(-1, 1, 1, 1)
    there = share(model, noise + along, embeddings, samples)
    return lengths(there) + penalty * lengths(noise)
