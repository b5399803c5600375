"""Intervals of rates, of differences of rates and of utility.

Everything here is a pure function of arrays and of the generator that is handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

CONFIDENCE = 0.95
DRAWS = 10_000

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A value and the bounds of its interval."""

    value: float
    low: float
    high: float


def clopper_pearson(hits: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a rate, from the binomial's own tails.

    Source: Clopper and Pearson, Biometrika 26 (1934).

    Raises:
        ValueError: `hits` is not within 0 and `n`, or `n` is 0.
    """
    if n < 1 or not 0 <= hits <= n:
        raise ValueError(f"{hits} hits of {n} are no rate")
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 1 - tail))
    return low, high


def paired_difference(
    ours: ArrayLike,
    reference: ArrayLike,
    clusters: Sequence[str],
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
) -> Estimate:
    """Difference of two rates over the same samples, with its interval over clusters.

    A Bayesian bootstrap (Rubin, Annals of Statistics 9, 1981) of whole clusters. Besides them half
    a cluster of each outcome that a pair can have (won, tied, lost) is in every draw, Jeffreys'
    prior: without it the interval has no width where all samples agree, and with 12 samples covers
    the truth two times in three rather than 95 times in a hundred.

    Args:
        ours: `[samples]`, 1 where the sample is a hit and 0 where it is not.
        reference: `[samples]`, the same samples in the same order.
        clusters: The cluster of each sample.
        rng: All randomness.
        confidence: Coverage asked for.
        draws: Number of draws.

    Raises:
        ValueError: the lengths differ, or there is no sample.
    """
    ours, reference = _floats(ours), _floats(reference)
    if ours.shape != reference.shape:
        raise ValueError("a paired difference needs the same samples on both sides")
    difference = ours - reference
    drawn = _plausible_means(difference, clusters, (1, 0, -1), rng, draws)
    return _credible(float(difference.mean()), drawn, confidence)


def unpaired_difference(
    ours: ArrayLike,
    clusters: Sequence[str],
    reference: ArrayLike,
    reference_clusters: Sequence[str],
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
) -> Estimate:
    """Difference of the rates of two groups of samples, with its interval over clusters.

    As `paired_difference`, but each group is drawn for itself, with half a cluster of hits and
    half a cluster of misses.

    Raises:
        ValueError: the lengths differ, or a group has no sample.
    """
    ours, reference = _floats(ours), _floats(reference)
    drawn = _plausible_means(ours, clusters, (1, 0), rng, draws) - _plausible_means(
        reference, reference_clusters, (1, 0), rng, draws
    )
    return _credible(float(ours.mean() - reference.mean()), drawn, confidence)


def utility_share(
    aligned: ArrayLike,
    unmitigated: ArrayLike,
    shuffled: ArrayLike,
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
) -> Estimate | None:
    """Alignment as a share of the span between shuffled captions (0) and no mitigation (1).

    The interval is a bootstrap over prompts, all three arms drawn together. None where the span
    itself cannot be told from 0: its own lower bound is not positive.

    Args:
        aligned: `[prompts]`, the mitigated model's alignment with its captions.
        unmitigated: `[prompts]`, the unmitigated model's.
        shuffled: `[prompts]`, the unmitigated model's alignment with other prompts' captions.
        rng: All randomness.
        confidence: Coverage asked for.
        draws: Number of bootstrap draws.

    Raises:
        ValueError: the lengths differ, or there is no prompt.
    """
    aligned, unmitigated, shuffled = _floats(aligned), _floats(unmitigated), _floats(shuffled)
    if not aligned.shape == unmitigated.shape == shuffled.shape:
        raise ValueError("a utility share needs the same prompts in all three arms")
    chosen = rng.integers(len(aligned), size=(draws, len(aligned)), dtype=np.int32)
    gain = (aligned - shuffled)[chosen].mean(axis=1)
    span = (unmitigated - shuffled)[chosen].mean(axis=1)
    if np.quantile(span, (1 - confidence) / 2) <= 0:
        return None
    value = float((aligned - shuffled).mean() / (unmitigated - shuffled).mean())
    positive = span > 0
    return _percentiles(value, gain[positive] / span[positive], confidence)


def recovered_share(attacked: float, mitigated: float, unmitigated: float) -> float | None:
    """What an attack brings back of what a mitigation hid; None where it hid nothing.

    Args:
        attacked: Rate under the mitigation and the attack.
        mitigated: Rate under the mitigation alone.
        unmitigated: Rate without either.
    """
    hidden = unmitigated - mitigated
    return (attacked - mitigated) / hidden if hidden > 0 else None


def _floats(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError("statistics need a list of at least one value")
    return array


def _plausible_means(
    values: Floats,
    clusters: Sequence[str],
    outcomes: Sequence[float],
    rng: np.random.Generator,
    draws: int,
) -> Floats:
    """Means that the population of `values` `[samples]` may have: `[draws]`.

    Each of `outcomes` counts as half a cluster of the usual size.
    """
    if len(clusters) != len(values):
        raise ValueError("each sample needs a cluster")
    _, members = np.unique(np.asarray(clusters), return_inverse=True)
    sizes = np.bincount(members).astype(np.float64)
    usual = np.full(len(outcomes), sizes.mean())
    sums = np.concatenate([np.bincount(members, weights=values), usual * outcomes])
    shapes = np.concatenate([np.ones(len(sizes)), np.full(len(outcomes), 0.5)])
    weights = rng.standard_gamma(shapes, size=(draws, len(shapes)))
    means: Floats = (weights @ sums) / (weights @ np.concatenate([sizes, usual]))
    return means


def _credible(value: float, drawn: Floats, confidence: float) -> Estimate:
    """The percentiles of the draws, widened to the value where the prior moved them past it."""
    _, low, high = _percentiles(value, drawn, confidence)
    return Estimate(value, min(low, value), max(high, value))


def _percentiles(value: float, drawn: Floats, confidence: float) -> Estimate:
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))
