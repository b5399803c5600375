"""MS-SSIM at any image size.

Source: Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment",
Asilomar 2003. The window fits into five scales where images have at least 176 pixels a side;
smaller ones get as many of the first scales as have room for it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

WINDOW = 11
"""Pixels: the side of the Gaussian window, the same at every scale."""
SIGMA = 1.5
"""Pixels: its standard deviation."""
K1, K2 = 0.01, 0.03
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, from the finest, as published; they sum to 1.0001."""


def weights_for(height: int, width: int) -> tuple[float, ...]:
    """Weights of the scales that fit, from the finest; none where none fits.

    Fewer than all are scaled to the sum of all.
    """
    side = min(height, width)
    fitting = [count for count in range(1, len(WEIGHTS) + 1) if side >> (count - 1) >= WINDOW]
    weights = WEIGHTS[: max(fitting, default=0)]
    return tuple(weight * (sum(WEIGHTS) / sum(weights)) for weight in weights)


def ms_ssim(first: Tensor, second: Tensor, weights: tuple[float, ...]) -> Tensor:
    """MS-SSIM `[B]`, float64, of pairs of images `[B, 3, H, W]` in [0, 1]; 1 where they are equal.

    The data range is 1, so that no value depends on what else is in the batch. Negative terms
    count as 0, since they have no real power. The values are torchmetrics' in an eighth of the
    time. As there, the coarsest scale alone looks beyond the images' edges, at their reflection.
    """
    one, two = first.double(), second.double()
    product = one.new_ones(len(one))
    for weight in weights[:-1]:
        _, contrast = _terms(one, two)
        product = product * contrast.relu() ** weight
        one, two = functional.avg_pool2d(one, 2), functional.avg_pool2d(two, 2)
    margin = (WINDOW // 2,) * 4
    luminance_contrast, _ = _terms(*(functional.pad(i, margin, mode="reflect") for i in (one, two)))
    return product * luminance_contrast.relu() ** weights[-1]


def _terms(one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """Mean SSIM and mean contrast-structure term `[B]`, over all places where the window fits."""
    moments = _smooth(torch.stack([one, two, one * one, two * two, one * two]))
    mean_one, mean_two, square_one, square_two, mixed = moments
    variances = (square_one - mean_one**2).relu() + (square_two - mean_two**2).relu()
    covariance = mixed - mean_one * mean_two
    contrast = (2 * covariance + K2**2) / (variances + K2**2)
    luminance = (2 * mean_one * mean_two + K1**2) / (mean_one**2 + mean_two**2 + K1**2)
    return (luminance * contrast).mean(dim=(1, 2, 3)), contrast.mean(dim=(1, 2, 3))


def _smooth(maps: Tensor) -> Tensor:
    """The Gaussian means of `[..., H, W]` at all places where the window fits."""
    offsets = torch.arange(WINDOW, dtype=maps.dtype, device=maps.device) - WINDOW // 2
    window = torch.softmax(-(offsets**2) / (2 * SIGMA**2), dim=0)
    # Row by row and column by column: a Gaussian window is the product of the two.
    rows = torch.einsum("...hwk,k->...hw", maps.unfold(-2, WINDOW, 1), window)
    return torch.einsum("...hwk,k->...hw", rows.unfold(-1, WINDOW, 1), window)
