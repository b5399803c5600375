"""The autoencoder: diffusers' AutoencoderTiny, 64 x 64 pixels to 16 x 16 x 16 latents.

It sees scenes and background photographs only: no memorized sample and no control.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from torch import Tensor

from dorib_suites.tiny.data import Captioned, as_float
from dorib_suites.tiny.training import Schedule, train

LATENT_CHANNELS = 16
WIDTH = 32
SCHEDULE = Schedule(steps=3800, learning_rate=2e-3)
BATCH = 16
LATENT_NOISE = 0.02


def build() -> AutoencoderTiny:
    """The untrained network: full-resolution blocks are what costs, so there is one each way."""
    with torch.random.fork_rng():
        torch.manual_seed(10)
        return AutoencoderTiny(
            encoder_block_out_channels=(WIDTH,) * 3,
            decoder_block_out_channels=(WIDTH,) * 3,
            num_encoder_blocks=(0, 1, 3),
            num_decoder_blocks=(3, 1, 1),
            latent_channels=LATENT_CHANNELS,
            scaling_factor=1.0,
        )


def train_autoencoder(
    scenes: Captioned,
    background: Captioned,
    folder: Path,
    device: torch.device,
    report: Callable[[str], None],
    schedule: Schedule = SCHEDULE,
) -> AutoencoderTiny:
    """Train on three parts photographs to one part scenes."""
    vae = build().to(device)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        photographs = _draw(background.pixels, BATCH * 3 // 4, generator)
        pixels = torch.cat([photographs, _draw(scenes.pixels, BATCH // 4, generator)])
        images = _varied(as_float(pixels), generator).to(device) * 2 - 1
        latents = vae.encode(images).latents
        noise = torch.randn(latents.shape, generator=generator).to(device)
        decoded = vae.decode(latents + LATENT_NOISE * noise).sample
        error = decoded - images
        return error.square().mean() + 0.1 * error.abs().mean()

    train("autoencoder", vae, loss, schedule, folder, seed=11, report=report)
    return vae


def _draw(pixels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return pixels[torch.randint(len(pixels), (count,), generator=generator)]


def _varied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Contrast, brightness and channel gains drawn anew for each image `[B, 3, H, W]`."""
    shape = (len(images), 3, 1, 1)
    gain = 1 + 0.25 * (2 * torch.rand(shape, generator=generator) - 1)
    shift = 0.1 * (2 * torch.rand(shape, generator=generator) - 1)
    return ((images - 0.5) * gain + 0.5 + shift).clamp(0, 1)
