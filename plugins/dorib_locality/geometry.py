"""Distances between vectors, and their projection on two axes."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Measure: TypeAlias = Literal["l2", "cosine"]
MEASURES: tuple[Measure, ...] = ("l2", "cosine")


class Projection(NamedTuple):
    """Vectors on their first two principal axes."""

    coordinates: Floats
    """`[n, 2]`"""
    explained: tuple[float, float]
    """Share of the total variance along each axis."""


def distances(vectors: Floats, measure: Measure) -> Floats:
    """Distance of each pair of `vectors` `[n, d]`: `[n, n]`, float64.

    `l2` is the Euclidean distance; `cosine` is 1 minus the cosine, in [0, 2].
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    if measure == "l2":
        return _square(pdist(vectors))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.maximum(lengths, np.finfo(np.float64).tiny)
    # Half the squared distance of unit vectors is 1 - cosine, without its cancellation near 0.
    return _square(pdist(units, "sqeuclidean") / 2)


def row_by_row(first: Floats, second: Floats, measure: Measure) -> Floats:
    """Distance of each row of `first` `[n, d]` from the same row of `second`: `[n]`."""
    pairs = zip(first, second, strict=True)
    return np.array([distances(np.stack(pair), measure)[0, 1] for pair in pairs])


def principal_projection(vectors: Floats) -> Projection:
    """Principal component analysis of `vectors` `[n, d]` with n and d at least 2.

    Deterministic: on each axis the coordinate furthest from 0 is positive.
    """
    centred = np.asarray(vectors, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    coordinates = left[:, :2] * singular[:2]
    furthest = np.abs(coordinates).argmax(axis=0)
    coordinates *= np.where(coordinates[furthest, [0, 1]] < 0, -1.0, 1.0)
    total = float((singular**2).sum()) or 1.0
    first, second = (float(value) ** 2 / total for value in singular[:2])
    return Projection(coordinates, (first, second))


def _square(condensed: Floats) -> Floats:
    matrix: Floats = squareform(condensed, checks=False)
    return matrix
