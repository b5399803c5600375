"""Two cells on the same samples: which are broken in one alone, and whether that may be chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.special import bdtr

from dorib.ranking.rates import Count, Facts, Interval, Positive, Share01
from dorib.ranking.statistics import paired_difference


class PairedOutcomes(Facts):
    """The same samples in two cells, counted by where they are broken."""

    n: Positive
    """Samples that both cells have."""
    both: Count
    first_alone: Count
    second_alone: Count
    neither: Count
    difference: Interval
    """The second's rate minus the first's."""
    p: Share01
    """Of McNemar's exact test, two-sided: it takes samples as independent, and knows of no other
    comparison."""
    clusters: Positive
    """Source photographs of the samples: what the interval resamples."""


def paired_outcomes(
    first: Sequence[bool],
    second: Sequence[bool],
    clusters: Sequence[str],
    rng: np.random.Generator,
) -> PairedOutcomes:
    """Count samples by where they are broken, with the difference of the rates.

    Args:
        first: `[samples]`, whether each is broken in one cell.
        second: `[samples]`, the same samples in the same order in the other.
        clusters: The cluster of each sample.
        rng: All randomness.

    Raises:
        ValueError: the lengths differ, or there is no sample.
    """
    counts = Counter(zip(first, second, strict=True))
    estimate = paired_difference(second, first, clusters, rng)
    return PairedOutcomes(
        n=len(first),
        both=counts[True, True],
        first_alone=counts[True, False],
        second_alone=counts[False, True],
        neither=counts[False, False],
        difference=Interval(**estimate._asdict()),
        p=mcnemar(counts[True, False], counts[False, True]),
        clusters=len(set(clusters)),
    )


def mcnemar(first_alone: int, second_alone: int) -> float:
    """The probability of a split as uneven, were each discordant pair a fair coin's throw.

    The exact test, two-sided; 1 where no pair is discordant. Source: McNemar, Psychometrika 12
    (1947).

    Args:
        first_alone: Pairs of which the first alone is a hit.
        second_alone: Pairs of which the second alone is one.

    Raises:
        ValueError: one of them is negative.
    """
    fewer, discordant = min(first_alone, second_alone), first_alone + second_alone
    if fewer < 0:
        raise ValueError(f"{fewer} pairs are no number of pairs")
    return min(1.0, 2 * float(bdtr(fewer, discordant, 0.5)))
