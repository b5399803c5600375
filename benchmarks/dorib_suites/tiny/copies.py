"""Copies of an image, as a copy detector must recognise them and a generator may produce them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Change = Callable[[Tensor, torch.Generator], Tensor]
"""Images `[B, 3, H, W]` in [0, 1] to images of the same shape, each changed in its own way."""


def crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """A square of 70 to 100 % of the side, back at full size."""
    scale = 0.7 + 0.3 * torch.rand(len(images), generator=generator)
    room = (1 - scale)[:, None]
    shift = room * (2 * torch.rand((len(images), 2), generator=generator) - 1)
    matrix = torch.zeros(len(images), 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = scale
    matrix[:, :, 2] = shift
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def rescale(images: Tensor, generator: torch.Generator) -> Tensor:
    """Reduced to 35 to 90 % of the side and enlarged again."""
    share = 0.35 + 0.55 * float(torch.rand((), generator=generator))
    side = max(8, round(images.shape[-1] * share))
    small = functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
    return functional.interpolate(small, images.shape[-2:], mode="bilinear").clamp(0, 1)


def noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise of up to 20 grey levels."""
    spread = 20 / 255 * torch.rand((len(images), 1, 1, 1), generator=generator)
    return (images + spread * torch.randn(images.shape, generator=generator)).clamp(0, 1)


def blur(images: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian blur of 0.4 to 1.4 pixels."""
    sigma = 0.4 + float(torch.rand((), generator=generator))
    offsets = torch.arange(-4, 5, dtype=torch.float32)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).repeat(3, 1, 1, 1)
    padded = functional.pad(images, (4, 4, 4, 4), mode="reflect")
    rows = functional.conv2d(padded, kernel, groups=3)
    return functional.conv2d(rows, kernel.transpose(2, 3), groups=3)


def jpeg(images: Tensor, generator: torch.Generator) -> Tensor:
    """Block-wise cosine coefficients rounded coarsely, as JPEG does (8 x 8, no chroma loss)."""
    step = 0.02 + 0.12 * float(torch.rand((), generator=generator))
    basis = _cosine_basis()
    batch, channels, height, width = images.shape
    blocks = images.reshape(batch, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    coefficients = basis @ blocks @ basis.T
    frequency = torch.arange(8, dtype=torch.float32)
    steps = step * (1 + 0.5 * (frequency[:, None] + frequency[None]))
    rounded = (coefficients / steps).round() * steps
    restored = basis.T @ rounded @ basis
    return restored.transpose(3, 4).reshape(images.shape).clamp(0, 1)


def colour_shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """Gain and offset of each channel, and contrast, a little off."""
    shape = (len(images), 3, 1, 1)
    gain = 1 + 0.2 * (2 * torch.rand(shape, generator=generator) - 1)
    offset = 0.08 * (2 * torch.rand(shape, generator=generator) - 1)
    return (images * gain + offset).clamp(0, 1)


def contrast(images: Tensor, generator: torch.Generator) -> Tensor:
    """Contrast about the mean of 0.4 to 2.5 times as much; what leaves [0, 1] is clipped."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (mean + _factors(images, 2.5, generator) * (images - mean)).clamp(0, 1)


def brightness(images: Tensor, generator: torch.Generator) -> Tensor:
    """Lighter or darker by up to 0.3, clipped."""
    shift = 2 * torch.rand((len(images), 1, 1, 1), generator=generator) - 1
    return (images + 0.3 * shift).clamp(0, 1)


def gamma(images: Tensor, generator: torch.Generator) -> Tensor:
    """A power of 0.4 to 2.5."""
    return images.clamp(0, 1) ** _factors(images, 2.5, generator)


def saturation(images: Tensor, generator: torch.Generator) -> Tensor:
    """Distance from grey of a third to three times as much, clipped."""
    grey = images.mean(dim=1, keepdim=True)
    return (grey + _factors(images, 3.0, generator) * (images - grey)).clamp(0, 1)


def grey(images: Tensor, generator: torch.Generator) -> Tensor:
    """No colour."""
    return images.mean(dim=1, keepdim=True).expand_as(images)


CHANGES: dict[str, Change] = {
    "crop": crop,
    "rescale": rescale,
    "noise": noise,
    "blur": blur,
    "jpeg": jpeg,
    "colour shift": colour_shift,
}
TONES: dict[str, Change] = {
    "contrast": contrast,
    "brightness": brightness,
    "gamma": gamma,
    "saturation": saturation,
    "grey": grey,
}
"""Far from the tones of the original, which a damaged model misses more often than its detail."""
ALL_CHANGES = CHANGES | TONES
"""What a copy may have gone through."""
TONES_SHARE = 0.3
"""Of each kind of tone: together they go too far more often than apart."""


def likenesses(images: Tensor, generator: torch.Generator) -> Tensor:
    """What is *not* a copy: the colours and the rough outline of each image, without its detail.

    As if seen through frosted glass: pixels come from places around their own, neighbours from
    nearly the same one. A search for an image that a model has never seen ends in such a blot.
    """
    height, width = images.shape[-2:]
    grain = 12 + int(torch.randint(13, (), generator=generator))
    offsets = torch.randn((len(images), 2, grain, grain), generator=generator)
    offsets = functional.interpolate(offsets, (height, width), mode="bilinear")
    reach = 2.5 + 3.5 * torch.rand((len(images), 1, 1, 1), generator=generator)
    identity = torch.eye(2, 3).expand(len(images), 2, 3)
    grid = functional.affine_grid(identity, list(images.shape), align_corners=False)
    pixels = torch.tensor([2 / width, 2 / height])
    grid = grid + (reach * offsets).permute(0, 2, 3, 1) * pixels
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def copies(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each of `CHANGES` with a chance of one half, one after the other."""
    return _changed(images, CHANGES, 0.5, generator)


def toned(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each of `TONES` with a chance of `TONES_SHARE`, one after the other."""
    return _changed(images, TONES, TONES_SHARE, generator)


def _changed(
    images: Tensor, kinds: dict[str, Change], share: float, generator: torch.Generator
) -> Tensor:
    for change in kinds.values():
        changed = change(images, generator)
        chosen = torch.rand((len(images), 1, 1, 1), generator=generator) < share
        images = torch.where(chosen, changed, images)
    return images


def _factors(images: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """One for each image, `[B, 1, 1, 1]`: from `1 / most` to `most`, either way as often."""
    return most ** (2 * torch.rand((len(images), 1, 1, 1), generator=generator) - 1)


def _cosine_basis() -> Tensor:
    position = torch.arange(8, dtype=torch.float32)
    basis = torch.cos(math.pi / 8 * (position[None] + 0.5) * position[:, None]) * math.sqrt(2 / 8)
    basis[0] /= math.sqrt(2)
    return basis
