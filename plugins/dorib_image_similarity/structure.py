"""MS-SSIM at any image size.

Source: Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment",
Asilomar 2003. The window fits into five scales where images have at least 176 pixels a side;
smaller ones get as many of the first scales as have room for it.
"""

from __future__ import annotations

from torch import Tensor

WINDOW = 11
"""Pixels: the side of the Gaussian window, the same at every scale."""
SIGMA = 1.5
"""Pixels: its standard deviation."""
K1, K2 = 0.01, 0.03
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, from the finest; they sum to 1."""


def weights_for(height: int, width: int) -> tuple[float, ...]:
    """Weights of the scales that fit, from the finest, scaled to sum to 1; none where none fits."""
    side = min(height, width)
    fitting = [count for count in range(1, len(WEIGHTS) + 1) if _fits(side, count)]
    weights = WEIGHTS[: max(fitting, default=0)]
    return tuple(weight / sum(weights) for weight in weights)


def ms_ssim(first: Tensor, second: Tensor, weights: tuple[float, ...]) -> Tensor:
    """MS-SSIM `[B]` of pairs of images `[B, 3, H, W]` in [0, 1]; 1 where they are equal.

    The data range is stated, so that no value depends on what else is in the batch. Negative
    contrast terms count as 0, since they have no real power.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    values: Tensor = multiscale_structural_similarity_index_measure(
        first.double(),
        second.double(),
        sigma=SIGMA,
        kernel_size=WINDOW,
        reduction="none",
        data_range=1.0,
        k1=K1,
        k2=K2,
        betas=weights,
        normalize="relu",
    )
    return values.reshape(len(first))


def _fits(side: int, scales: int) -> bool:
    """Whether the window fits into the coarsest scale, and torchmetrics agrees."""
    halved = side >> (scales - 1)
    divisor = max(1, scales - 1)
    return min(halved, side // (divisor * divisor)) >= WINDOW
