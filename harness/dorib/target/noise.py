"""The forward process: how much signal and noise a timestep holds, and what a U-Net is taught."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def noise_levels(scheduler: Any, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """`sqrt(abar_t)` and `sqrt(1 - abar_t)` of each item, float32.

    `timesteps` are int64 `[B]`; the levels have as many axes as `like`, all but the first of
    length 1.
    """
    abar = scheduler.alphas_cumprod.to(like.device, torch.float32)[timesteps]
    abar = abar.view(-1, *[1] * (like.dim() - 1))
    return abar.sqrt(), (1 - abar).sqrt()


def training_target(
    prediction_type: str, latents: Tensor, noise: Tensor, levels: tuple[Tensor, Tensor]
) -> Tensor:
    """What the U-Net is trained to output: the noise, the velocity or the clean latent.

    Raises:
        ValueError: the prediction type is another.
    """
    signal, spread = levels
    match prediction_type:
        case "epsilon":
            return noise
        case "v_prediction":
            return signal * noise - spread * latents
        case "sample":
            return latents
    raise ValueError(f"unknown prediction type {prediction_type!r}")
