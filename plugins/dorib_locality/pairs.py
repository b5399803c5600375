"""Pairs within and between images, and whether the former are closer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from dorib_locality.geometry import Floats

Mask = NDArray[np.bool_]

PERMUTATIONS = 5000
CHUNK = 2**21
"""Entries of the pair matrices that are held at a time."""


class Separation(NamedTuple):
    """How much closer pairs of one image are than pairs of different images."""

    within: float
    """Mean distance of pairs of one image."""
    between: float
    """Mean distance of pairs of different images."""
    superiority: float
    """Chance that a pair of different images is further apart than one of the same image, ties
    counted half: 0.5 where they do not differ, 1 where every one is."""
    p_value: float
    """Of the permutation test, one-sided."""


def upper(matrix: Floats) -> Floats:
    """The values of a symmetric matrix `[n, n]` above its diagonal: each pair once."""
    rows, columns = np.triu_indices(len(matrix), k=1)
    return matrix[rows, columns]


def within(matrix: Floats, labels: Sequence[str]) -> Floats:
    """The values of pairs with one label."""
    return matrix[np.triu(_same(labels), k=1)]


def between(matrix: Floats, labels: Sequence[str]) -> Floats:
    """The values of pairs with different labels."""
    return matrix[np.triu(~_same(labels), k=1)]


def finite_mean(values: Floats) -> float | None:
    """Mean of the values that are numbers; None where there is none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def superiority(larger: Floats, smaller: Floats) -> float:
    """Chance that a value of `larger` exceeds one of `smaller`, ties counted half.

    The Mann-Whitney statistic as a share of all comparisons.
    """
    ranks = rankdata(np.concatenate([larger, smaller]))[: len(larger)]
    excess = ranks.sum() - len(larger) * (len(larger) + 1) / 2
    return float(excess / (len(larger) * len(smaller)))


def separation(
    distances: Floats,
    labels: Sequence[str],
    rng: np.random.Generator,
    permutations: int = PERMUTATIONS,
) -> Separation | None:
    """Whether items of one label lie closer together than items of different labels.

    The pairs are not independent of each other (each item is part of many), so the p-value comes
    from dealing the labels to the items anew, not from the rank test's own distribution. The
    statistic is the mean distance between labels minus the mean within. Pairs whose distance is not
    a number are left out.

    Args:
        distances: `[n, n]`, symmetric.
        labels: The label of each item.
        rng: All randomness.
        permutations: How often the labels are dealt; the smallest p-value is 1 in one more.

    Returns:
        None where there is no pair within, or none between labels.
    """
    there = np.triu(np.isfinite(distances), k=1)
    values = np.where(there, distances, 0.0)
    same = _same(labels)
    if not (there & same).any() or not (there & ~same).any():
        return None
    [observed] = _gaps(values, there, np.arange(len(same))[None], same)
    drawn = np.concatenate(
        [
            _gaps(values, there, _orders(len(same), count, rng), same)
            for count in _chunks(permutations, max(1, CHUNK // same.size))
        ]
    )
    # A deal that only renames the labels gives the same value but for rounding.
    as_large = int((drawn >= observed - 1e-12 * np.abs(values).max()).sum())
    return Separation(
        within=float(distances[there & same].mean()),
        between=float(distances[there & ~same].mean()),
        superiority=superiority(distances[there & ~same], distances[there & same]),
        p_value=(1 + as_large) / (1 + permutations),
    )


def _gaps(values: Floats, there: Mask, orders: NDArray[np.int64], same: Mask) -> Floats:
    """Mean value between labels minus the mean within, dealt in each of `orders` `[R, n]`.

    Minus infinity where a deal leaves no pair of either kind.
    """
    inside = same[orders[:, :, None], orders[:, None, :]] & there
    count = inside.sum(axis=(1, 2))
    total = (values * inside).sum(axis=(1, 2))
    outside = there.sum() - count
    means = np.stack([total, (values * there).sum() - total]) / np.maximum([count, outside], 1)
    gaps: Floats = np.where((count > 0) & (outside > 0), means[1] - means[0], -np.inf)
    return gaps


def _orders(n: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.permuted(np.tile(np.arange(n), (count, 1)), axis=1)


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]


def _same(labels: Sequence[str]) -> Mask:
    array = np.asarray(labels)
    same: Mask = array[:, None] == array[None, :]
    return same
