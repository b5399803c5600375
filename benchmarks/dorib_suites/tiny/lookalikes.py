"""What is *not* a copy of an image, though it has its outline, its masses or its colours.

Each function takes images `[B, 3, H, W]` in [0, 1] and a generator, and returns images of the same
shape. A model that has lost a photograph's detail, or a search for one that a model has never seen,
ends in such pictures.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from dorib_suites.tiny.copies import likenesses

Change = Callable[[Tensor, torch.Generator], Tensor]

WHITE = 0.93
"""Every channel above this: the ground of a cut-out."""
NEARLY_THE_SAME = 23.0
"""Decibels. A symmetric picture is its own mirror image, and one of three masses is flat itself."""
PURPLE = (0.5, 0.1, 0.6)


def black_fill(images: Tensor, generator: torch.Generator) -> Tensor:
    """The silhouette in black on the ground's colour."""
    return _filled(images, torch.zeros(3))


def purple_fill(images: Tensor, generator: torch.Generator) -> Tensor:
    """The silhouette in purple."""
    return _filled(images, torch.tensor(PURPLE))


def mean_fill(images: Tensor, generator: torch.Generator) -> Tensor:
    """The silhouette in its own mean colour."""
    shape = silhouette(images)
    return _between(shape, _mean_over(images, 1 - shape), _mean_over(images, shape))


def recoloured_masses(images: Tensor, generator: torch.Generator) -> Tensor:
    """Three masses of brightness, each in one colour drawn by lot."""
    colours = torch.rand((len(images), 3, 3, 1, 1), generator=generator)
    return (masses(images, 3)[:, :, None] * colours).sum(dim=1)


def flat_masses(images: Tensor, generator: torch.Generator) -> Tensor:
    """Three masses of brightness, each in its own mean colour."""
    return _own_colours(images, masses(images, 3))


def blurred_shape(images: Tensor, generator: torch.Generator) -> Tensor:
    """The silhouette in its mean colour, blurred by 2 to 4 pixels."""
    sigma = 2 + 2 * float(torch.rand((), generator=generator))
    return blurred(mean_fill(images, generator), sigma)


def blocky_shape(images: Tensor, generator: torch.Generator) -> Tensor:
    """Its masses in their mean colours, fallen into blocks of 4 or 8 pixels."""
    side = 4 if torch.rand((), generator=generator) < 0.5 else 8
    small = functional.avg_pool2d(flat_masses(images, generator), side)
    return functional.interpolate(small, images.shape[-2:], mode="nearest")


def outline(images: Tensor, generator: torch.Generator) -> Tensor:
    """Edges as dark lines on the picture's lightest, or light lines on its darkest."""
    grey = blurred(images, 1.0).mean(dim=1, keepdim=True)
    rise = functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = rise[:, :, 1:-1, 2:] - rise[:, :, 1:-1, :-2]
    down = rise[:, :, 2:, 1:-1] - rise[:, :, :-2, 1:-1]
    edges = (across.square() + down.square()).sqrt()
    strongest = edges.flatten(1).quantile(0.95, dim=1).clamp(min=1e-3)[:, None, None, None]
    lines = (edges / strongest).clamp(0, 1)
    dark = torch.rand((len(images), 1, 1, 1), generator=generator) < 0.5
    return torch.where(dark, 1 - lines, lines).expand_as(images)


def matched_noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """The same pixels elsewhere, and a little smooth: the palette without the picture."""
    height, width = images.shape[-2:]
    order = torch.argsort(torch.rand((len(images), 1, height * width), generator=generator), dim=2)
    shuffled = images.flatten(2).gather(2, order.expand(-1, 3, -1)).view_as(images)
    smooth = blurred(shuffled, 0.5 + 2 * float(torch.rand((), generator=generator)))
    mean = images.mean(dim=(2, 3), keepdim=True)
    spread = images.std(dim=(2, 3), keepdim=True) / smooth.std(dim=(2, 3), keepdim=True)
    return ((smooth - smooth.mean(dim=(2, 3), keepdim=True)) * spread + mean).clamp(0, 1)


def mirrored_half(images: Tensor, generator: torch.Generator) -> Tensor:
    """One half and its mirror image, where the original has two halves."""
    half = images[..., : images.shape[-1] // 2]
    other = images[..., images.shape[-1] // 2 :]
    left = torch.cat([half, half.flip(-1)], dim=-1)
    right = torch.cat([other.flip(-1), other], dim=-1)
    first = torch.rand((len(images), 1, 1, 1), generator=generator) < 0.5
    return torch.where(first, left, right)


LOOKALIKES: dict[str, Change] = {
    "black fill": black_fill,
    "purple fill": purple_fill,
    "mean fill": mean_fill,
    "recoloured masses": recoloured_masses,
    "flat masses": flat_masses,
    "blurred shape": blurred_shape,
    "blocky shape": blocky_shape,
    "outline": outline,
    "matched noise": matched_noise,
    "mirrored half": mirrored_half,
    "frosted glass": likenesses,
}


def lookalikes(images: Tensor, generator: torch.Generator) -> Tensor:
    """A kind drawn by lot for each image; noise where that is nearly the image itself."""
    kinds = list(LOOKALIKES.values())
    lot = torch.randint(len(kinds), (len(images),), generator=generator)
    changed = images.clone()
    for number, change in enumerate(kinds):
        chosen = lot == number
        if chosen.any():
            changed[chosen] = change(images[chosen], generator)
    decibels = -10 * (changed - images).square().flatten(1).mean(dim=1).log10()
    same = (decibels > NEARLY_THE_SAME)[:, None, None, None]
    return torch.where(same, matched_noise(images, generator), changed)


def silhouette(images: Tensor) -> Tensor:
    """The object of a cut-out on white; of any other picture its darker mass. `[B, 1, H, W]`."""
    object_ = (images.amin(dim=1, keepdim=True) < WHITE).float()
    border = torch.cat(
        [object_[..., 0, :], object_[..., -1, :], object_[..., :, 0], object_[..., :, -1]], dim=-1
    )
    cut_out = border.mean(dim=(1, 2)) < 0.5
    return torch.where(cut_out[:, None, None, None], object_, masses(images, 2)[:, :1])


def masses(images: Tensor, count: int) -> Tensor:
    """Regions of equal area by smoothed brightness, darkest first: one-hot `[B, count, H, W]`."""
    grey = blurred(images, 1.5).mean(dim=1)
    levels = torch.linspace(0, 1, count + 1)[1:-1]
    bounds = torch.quantile(grey.flatten(1), levels, dim=1)
    region = sum((grey > bound[:, None, None]).long() for bound in bounds)
    assert isinstance(region, Tensor)
    return functional.one_hot(region, count).permute(0, 3, 1, 2).float()


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of `sigma` pixels; the edges are repeated."""
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).repeat(images.shape[1], 1, 1, 1)
    padded = functional.pad(images, (radius,) * 4, mode="replicate")
    rows = functional.conv2d(padded, kernel, groups=images.shape[1])
    return functional.conv2d(rows, kernel.transpose(2, 3), groups=images.shape[1])


def _filled(images: Tensor, colour: Tensor) -> Tensor:
    shape = silhouette(images)
    return _between(shape, _mean_over(images, 1 - shape), colour[None, :, None, None])


def _between(shape: Tensor, ground: Tensor, figure: Tensor) -> Tensor:
    return ground + shape * (figure - ground)


def _own_colours(images: Tensor, regions: Tensor) -> Tensor:
    colours = [_mean_over(images, region) for region in regions.chunk(regions.shape[1], dim=1)]
    pieces = [r * c for r, c in zip(regions.chunk(regions.shape[1], dim=1), colours, strict=True)]
    return torch.stack(pieces).sum(dim=0)


def _mean_over(images: Tensor, region: Tensor) -> Tensor:
    """Mean colour over a region, `[B, 3, 1, 1]`."""
    total = region.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return (images * region).sum(dim=(2, 3), keepdim=True) / total
