"""Which of several images is most like the others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

TILES = 4
"""Rows and columns."""


def tiled_distances(images: Tensor) -> Tensor:
    """Root mean squared difference in the tile that differs most, `[N, N]` of `[N, 3, H, W]`.

    By the worst of 16 tiles, plain grounds do not make two images alike. Source: Carlini et al.,
    arXiv 2301.13188, section 4.2.
    """
    rows = []
    for image in images:
        tiles = adaptive_avg_pool2d((images - image).square().mean(dim=1), TILES)
        rows.append(tiles.flatten(1).amax(dim=1).sqrt())
    return torch.stack(rows)


def most_typical(distances: Tensor, clique: int) -> tuple[int, float]:
    """The place of the image nearest to its `clique` - 1 nearest others, and that mean distance.

    `distances` is `[N, N]`, N at least 2; of several the first.
    """
    nearest = distances.sort(dim=1).values[:, 1:clique].mean(dim=1)
    place = int(nearest.argmin())
    return place, float(nearest[place])
