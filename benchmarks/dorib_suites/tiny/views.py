"""Views of an original: a picture is a copy where it is one of any of them.

A picture that shows 70 % of an original is a copy, but one descriptor has to give up detail to see
that, and then takes masses for copies as well. So the original is described as a whole and in nine
crops, and what counts is the nearest. Costs nothing where images are judged: the original is
described once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from dorib_suites.tiny.data import as_float

Judge = Callable[[Tensor], Tensor]
"""Images `[B, 3, H, W]` in [0, 1] to descriptors `[B, d]` of unit length."""
CORNERS = (0.85, 0.72)
"""Sides of the crops in the four corners, as shares of the original's."""
CENTRE = 0.75


def views(images: Tensor) -> list[Tensor]:
    """The whole and its crops, each `[B, 3, H, W]`."""
    height, width = images.shape[-2:]
    places = [(share, top, left) for share in CORNERS for top in (0, 1) for left in (0, 1)]
    found = [images]
    for share, top, left in [*places, (CENTRE, 0.5, 0.5)]:
        rows, columns = round(height * share), round(width * share)
        y, x = int((height - rows) * top), int((width - columns) * left)
        part = images[..., y : y + rows, x : x + columns]
        found.append(functional.interpolate(part, (height, width), mode="bilinear"))
    return found


@torch.no_grad()
def describe(judge: Judge, pixels: Tensor) -> Tensor:
    """Descriptors `[N, d]` of uint8 pictures."""
    return torch.cat([judge(as_float(piece)) for piece in torch.split(pixels, 128)])


@torch.no_grad()
def describe_views(judge: Judge, pixels: Tensor) -> Tensor:
    """Descriptors `[views, N, d]` of originals (uint8)."""
    pieces = [
        torch.stack([judge(view) for view in views(as_float(piece))])
        for piece in torch.split(pixels, 64)
    ]
    return torch.cat(pieces, dim=1)


def similarity(originals: Tensor, descriptors: Tensor) -> Tensor:
    """Cosine of each picture to the nearest view of its own original, `[N]`."""
    return torch.einsum("vnd,nd->vn", originals, descriptors).amax(dim=0)


def all_similarities(originals: Tensor, descriptors: Tensor) -> Tensor:
    """Cosine of each original's nearest view to each picture, `[originals, pictures]`."""
    return torch.einsum("vnd,md->vnm", originals, descriptors).amax(dim=0)
