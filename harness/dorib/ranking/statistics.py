"""Intervals of rates, of differences of rates and of utility.

Everything here is a pure function of arrays and of the generator that is handed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, stdtrit

CONFIDENCE = 0.95
DRAWS = 10_000
FEWEST_PROMPTS = 4
"""Of fewer, no interval of a utility covers the truth as often as it says."""

Floats = NDArray[np.float64]


class Difference(NamedTuple):
    """A difference of rates and the bounds of its interval."""

    value: float
    low: float
    high: float


class Estimate(NamedTuple):
    """A value and the bounds of its interval, None where so few values allow none."""

    value: float
    low: float | None
    high: float | None


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
) -> Difference:
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
) -> Difference:
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

    The interval is the wider, on each side, of two, since a mitigation may cost all prompts a
    little or a few of them everything: Fieller's (Journal of the Royal Statistical Society B 16,
    1954), exact where gains and spans are normal; and a Bayesian bootstrap over prompts beside
    half a prompt that is ruined and half a prompt that is kept, as `paired_difference` draws
    clusters. Where no prompt of a few is ruined, the first has no notion that one could be. There
    is no interval below `FEWEST_PROMPTS`.

    None where the span itself cannot be told from 0: its own lower bound is not positive, or with
    fewer prompts one of theirs is not.

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
    gain, span = aligned - shuffled, unmitigated - shuffled
    value = float(gain.mean() / span.mean()) if span.mean() > 0 else math.nan
    if len(gain) < FEWEST_PROMPTS:
        return Estimate(value, None, None) if span.min() > 0 else None
    bounds = _fieller(gain, span, confidence)
    if bounds is None:
        return None
    drawn = _plausible_shares(gain, span, rng, draws)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Estimate(value, min(bounds[0], float(low)), max(bounds[1], float(high)))


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

    A cluster's weight spreads the more the larger its share of the samples. A large one draws the
    mean to itself, so that its distance from it understates what it may do: its spread grows by
    1 / (1 - share), as jackknife standard errors have it (MacKinnon and White, Journal of
    Econometrics 29, 1985). And unequal clusters say as much of the spread as fewer equal ones do:
    it grows as Student's quantile does with their degrees of freedom (Satterthwaite, Biometrics
    Bulletin 2, 1946). Where all clusters are of one size, neither changes anything.
    """
    if len(clusters) != len(values):
        raise ValueError("each sample needs a cluster")
    _, members = np.unique(np.asarray(clusters), return_inverse=True)
    sizes = np.bincount(members).astype(np.float64)
    # As a root of mean squares, large clusters have their say in what is usual.
    usual = np.full(len(outcomes), np.sqrt(np.square(sizes).mean()))
    sums = np.concatenate([np.bincount(members, weights=values), usual * outcomes])
    precisions = _precisions(sizes)
    shapes = np.concatenate([precisions, np.full(len(outcomes), 0.5)])
    weights = rng.standard_gamma(shapes, size=(draws, len(shapes)))
    # A gamma's mean is its shape: divided by it, a cluster's weight is 1 on average.
    weights[:, : len(sizes)] /= precisions
    means: Floats = (weights @ sums) / (weights @ np.concatenate([sizes, usual]))
    return means


def _precisions(sizes: Floats) -> Floats:
    """By cluster, one over the variance of its weight, 1 where `sizes` are equal."""
    n = len(sizes)
    if np.ptp(sizes) == 0:
        return np.ones(n)
    shares = sizes / sizes.sum()
    freedom = np.square(shares).sum() ** 2 / np.power(shares, 4).sum()
    # Below three degrees of freedom Student's quantile runs off, and intervals cover too often.
    student = stdtrit(np.array([n, max(freedom, 3)]), 0.975)
    precisions: Floats = np.square((1 - shares) / (1 - 1 / n) * student[0] / student[1])
    return precisions


def _credible(value: float, drawn: Floats, confidence: float) -> Difference:
    """The percentiles of the draws, widened to the value where the prior moved them past it."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Difference(value, min(float(low), value), max(float(high), value))


def _fieller(gain: Floats, span: Floats, confidence: float) -> tuple[float, float] | None:
    """Bounds of the ratio of two paired means `[prompts]`; None where the span's holds 0.

    They are the ratios r for which the mean of `gain - r * span` cannot be told from 0 by a t-test:
    between the roots of a quadratic.
    """
    n = len(gain)
    critical = float(stdtrit(n - 1, (1 + confidence) / 2)) ** 2
    means, spread = np.array([gain.mean(), span.mean()]), np.cov(gain, span) / n
    (constant, linear), (_, quadratic) = np.outer(means, means) - critical * spread
    if quadratic <= 0 or means[1] <= 0:
        return None
    # At no ratio is it further from 0 than at the value itself, so that the roots are real.
    root = math.sqrt(max(linear**2 - quadratic * constant, 0.0))
    return float(linear - root) / float(quadratic), float(linear + root) / float(quadratic)


def _plausible_shares(gain: Floats, span: Floats, rng: np.random.Generator, draws: int) -> Floats:
    """Shares that the population of `[prompts]` may have: at most `[draws]`."""
    usual = span.mean()
    gains, spans = np.append(gain, [0.0, usual]), np.append(span, [usual, usual])
    shapes = np.append(np.ones(len(gain)), [0.5, 0.5])
    weights = rng.standard_gamma(shapes, size=(draws, len(shapes)))
    drawn_gains, drawn_spans = weights @ gains, weights @ spans
    positive = drawn_spans > 0
    shares: Floats = drawn_gains[positive] / drawn_spans[positive]
    return shares
