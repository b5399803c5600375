"""Likeness of pictures to views of their originals, as the judges are calibrated by it.

The views themselves are those of the metric: see `dorib_sscd.views`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dorib_sscd.views import Views
from dorib_suites.tiny.data import as_float

Judge = Callable[[Tensor], Tensor]
"""Images `[B, 3, H, W]` in [0, 1] to descriptors `[B, d]` of unit length."""
VIEWS = Views(corners=(0.85, 0.72), centres=(0.75,))
"""In which both judges see an original: the whole and nine crops."""


@torch.no_grad()
def describe(judge: Judge, pixels: Tensor) -> Tensor:
    """Descriptors `[N, d]` of uint8 pictures."""
    return torch.cat([judge(as_float(piece)) for piece in torch.split(pixels, 128)])


@torch.no_grad()
def describe_views(judge: Judge, pixels: Tensor, views: Views = VIEWS) -> Tensor:
    """Descriptors `[views, N, d]` of originals (uint8)."""
    pieces = [seen(judge, as_float(piece), views) for piece in torch.split(pixels, 64)]
    return torch.cat(pieces, dim=1)


def seen(judge: Judge, images: Tensor, views: Views = VIEWS) -> Tensor:
    """Descriptors `[views, N, d]` of images in [0, 1] `[N, 3, H, W]`."""
    return torch.stack([judge(view) for view in views.of(images)])


def similarity(originals: Tensor, descriptors: Tensor) -> Tensor:
    """Cosine of each picture to the nearest view of its own original, `[N]`."""
    return torch.einsum("vnd,nd->vn", originals, descriptors).amax(dim=0)


def all_similarities(originals: Tensor, descriptors: Tensor) -> Tensor:
    """Cosine of each original's nearest view to each picture, `[originals, pictures]`."""
    return torch.einsum("vnd,md->vnm", originals, descriptors).amax(dim=0)
