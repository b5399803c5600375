"""The autoencoder: diffusers' AutoencoderTiny, 64 x 64 pixels to 16 x 16 x 16 latents.

The encoder is linear and not trained: the principal components of 4 x 4 patches, written into
the strided convolutions of the stock class. Only the decoder learns. It is the ceiling of every
score, so it may be trained on after the U-Net without changing a latent. Both see scenes and
background photographs only: no memorized sample and no control.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from dorib.reporting import Reporter
from dorib_suites.tiny.data import Captioned, as_float
from dorib_suites.tiny.training import Schedule, backward_of, train

LATENT_CHANNELS = 16
PATCH = 4
PATCH_VALUES = 3 * PATCH * PATCH
WIDTH = 32
SCALING_FACTOR = 10.0
"""Raw latents have a standard deviation of 0.1: the decoder squashes what is near 3."""
WHITENING = 0.8
"""A component is divided by its standard deviation to this power: fully whitened, the faint ones
would take as much of the U-Net's attention as the strong ones."""
SCHEDULE = Schedule(steps=4500, learning_rate=2.5e-3, warm_up=0.05)
BATCH = 16
LATENT_NOISE = 0.03


def build(scenes: Captioned, background: Captioned) -> AutoencoderTiny:
    """The network with its finished encoder and an untrained decoder."""
    with torch.random.fork_rng():
        torch.manual_seed(10)
        vae = AutoencoderTiny(
            encoder_block_out_channels=(PATCH_VALUES,) * 3,
            decoder_block_out_channels=(WIDTH,) * 3,
            num_encoder_blocks=(0, 0, 0),
            num_decoder_blocks=(3, 1, 1),
            latent_channels=LATENT_CHANNELS,
            scaling_factor=SCALING_FACTOR,
        )
    pixels = torch.cat([background.pixels[::2], scenes.pixels[: len(background)][::2]])
    _write_components(vae, as_float(pixels))
    first = vae.decoder.layers[0]
    # The decoder's usual initial weights suit inputs of unit variance.
    first.weight.data.mul_(SCALING_FACTOR)
    return vae


def train_autoencoder(
    scenes: Captioned,
    background: Captioned,
    folder: Path,
    device: torch.device,
    reporter: Reporter,
    schedule: Schedule,
) -> AutoencoderTiny:
    """Train the decoder on three parts photographs to one part scenes."""
    vae = build(scenes, background).to(device)
    vae.encoder.requires_grad_(False)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        photographs = draw(background.pixels, BATCH * 3 // 4, generator)
        pixels = torch.cat([photographs, draw(scenes.pixels, BATCH // 4, generator)])
        images = varied(as_float(pixels), generator).to(device) * 2 - 1
        latents = vae.encode(images).latents
        noise = torch.randn(latents.shape, generator=generator).to(device)
        decoded = vae.decode(latents + LATENT_NOISE / SCALING_FACTOR * noise).sample
        error = decoded - images
        value: Tensor = error.square().mean() + 0.1 * error.abs().mean()
        return value

    train("autoencoder", vae, backward_of(loss), schedule, folder, seed=11, reporter=reporter)
    return vae


@torch.no_grad()
def _write_components(vae: AutoencoderTiny, images: Tensor) -> None:
    """Make the encoder the map onto the principal components of `images`' patches.

    Two strided convolutions move each 4 x 4 patch into 48 channels, in the order of `_patches`;
    the last convolution, at its centre, is the matrix of components.
    """
    patches = _patches(images)[:: 1 + len(images) // 64]
    mean = patches.mean(dim=0)
    spread, components = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    spread = spread.flip(0)[:LATENT_CHANNELS].clamp(min=0).sqrt()
    matrix = components.flip(1)[:, :LATENT_CHANNELS].T / spread[:, None] ** WHITENING
    matrix /= ((patches - mean) @ matrix.T).std() * SCALING_FACTOR
    copy, first, second, last = [m for m in vae.encoder.layers if isinstance(m, nn.Conv2d)]
    for convolution in (copy, first, second, last):
        convolution.weight.zero_()
        if convolution.bias is not None:
            convolution.bias.zero_()
    for channel in range(3):
        copy.weight[channel, channel, 1, 1] = 1
    for convolution, channels in ((first, 3), (second, 12)):
        for place, (y, x) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
            for channel in range(channels):
                convolution.weight[place * channels + channel, channel, 1 + y, 1 + x] = 1
    last.weight[:, :, 1, 1] = matrix
    assert last.bias is not None
    last.bias.copy_(-matrix @ mean)


def _patches(images: Tensor) -> Tensor:
    """4 x 4 patches of `[B, 3, H, W]` as rows `[patches, 48]`, in the encoder's channel order."""
    for _ in range(2):
        b, c, h, w = images.shape
        split = images.reshape(b, c, h // 2, 2, w // 2, 2)
        images = split.permute(0, 3, 5, 1, 2, 4).reshape(b, 4 * c, h // 2, w // 2)
    return images.permute(0, 2, 3, 1).reshape(-1, PATCH_VALUES)


def draw(pixels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` pictures drawn with replacement."""
    return pixels[torch.randint(len(pixels), (count,), generator=generator)]


def varied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Contrast, brightness and channel gains drawn anew for each image `[B, 3, H, W]`."""
    shape = (len(images), 3, 1, 1)
    gain = 1 + 0.25 * (2 * torch.rand(shape, generator=generator) - 1)
    shift = 0.1 * (2 * torch.rand(shape, generator=generator) - 1)
    return ((images - 0.5) * gain + 0.5 + shift).clamp(0, 1)
