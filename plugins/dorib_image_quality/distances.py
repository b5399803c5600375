"""Distances between two sets of features, in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK = 1024
"""Rows of a kernel matrix that are held at once."""


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Squared Fréchet distance between the Gaussians fitted to two sets of features.

    `first` and `second` are `[n, D]` and `[m, D]`, float64, of at least two rows each; the result
    is `|m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2))` with unbiased covariances S. Source: Heusel et
    al., arXiv 1706.08500.

    With `S1 = A'A` and `S2 = B'B`, the trace of the root is the sum of the singular values of
    `A B'`. So no root is taken of eigenvalues that should be zero, as they are where a set has no
    more images than features: published code loses half of the digits there.
    """
    a, b = _root(first), _root(second)
    shift = (first.mean(dim=0) - second.mean(dim=0)).square().sum()
    spread = a.square().sum() + b.square().sum() - 2 * torch.linalg.svdvals(a @ b.T).sum()
    return max(0.0, float(shift + spread))


def kernel_distance(first: Tensor, second: Tensor, *, paired: bool) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy; negative values are chance.

    `first` and `second` are `[n, D]` and `[m, D]`, float64, of at least two rows each; the kernel
    is `(x.y / D + 1)^3`. Source: Binkowski et al., arXiv 1801.01401. All images enter at once:
    the mean over random subsets that published code takes estimates the same with more variance.

    `paired`: row i of both comes from the same prompt and noise. The pairs are then independent,
    the two images of a pair are not, and the terms between these are left out (the one-sample
    U-statistic of Gretton et al., JMLR 2012, section 3.2): two equal sets are at 0 exactly.
    """
    n, m = len(first), len(second)
    if paired and n != m:
        raise ValueError(f"{n} and {m} images cannot be pairs")
    within_first = _off_diagonal(first, first) / (n * (n - 1))
    within_second = _off_diagonal(second, second) / (m * (m - 1))
    if paired:
        between = _off_diagonal(first, second) / (n * (n - 1))
    else:
        between = _kernel_sum(first, second) / (n * m)
    return within_first + within_second - 2 * between


def _root(features: Tensor) -> Tensor:
    """`A` of at most D rows with `A'A` the unbiased covariance."""
    centred = (features - features.mean(dim=0)) / math.sqrt(len(features) - 1)
    if len(centred) <= centred.shape[1]:
        return centred
    root: Tensor = torch.linalg.qr(centred, mode="r").R
    return root


def _off_diagonal(first: Tensor, second: Tensor) -> float:
    diagonal = ((first * second).sum(dim=1) / first.shape[1] + 1).pow(3).sum().item()
    return _kernel_sum(first, second) - diagonal


def _kernel_sum(first: Tensor, second: Tensor) -> float:
    dimensions = first.shape[1]
    blocks = torch.split(first, BLOCK)
    return sum((block @ second.T / dimensions + 1).pow(3).sum().item() for block in blocks)
