"""Two cells on the same samples: counts, the exact test, and intervals that cover the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, multinomial

from dorib.ranking.estimates.paired import mcnemar, paired_outcomes

PAIRS = np.array([(True, True), (True, False), (False, True), (False, False)])
ROUNDS = 300


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_the_exact_test_is_the_binomial_one_of_discordant_pairs(one: int, other: int) -> None:
    total = one + other
    expected = binomtest(one, total, 0.5).pvalue if total else 1.0
    assert mcnemar(one, other) == pytest.approx(expected, abs=1e-12)


def test_a_negative_number_of_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="-1 pairs"):
        mcnemar(-1, 3)


def test_samples_are_counted_by_where_they_are_broken() -> None:
    first = [True, True, True, False, False, False]
    second = [True, False, False, False, True, False]
    found = paired_outcomes(first, second, list("aabcde"), rng())
    counts = found.both, found.first_alone, found.second_alone, found.neither
    assert counts == (1, 2, 1, 2)
    assert (found.n, found.clusters) == (6, 5)
    assert found.difference.value == pytest.approx(-1 / 6)
    assert found.p == 1


def test_samples_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="argument 2"):
        paired_outcomes([True, False], [True], ["a", "b"], rng())


Intervals = dict[tuple[int, int], tuple[float, float]]
"""By how many samples are broken in the first alone and in the second alone."""


def all_intervals(samples: int) -> Intervals:
    names, draw, found = [str(number) for number in range(samples)], rng(samples), {}
    for first_alone in range(samples + 1):
        for second_alone in range(samples + 1 - first_alone):
            tied = samples - first_alone - second_alone
            first = [True] * first_alone + [False] * (second_alone + tied)
            second = [False] * first_alone + [True] * second_alone + [False] * tied
            estimate = paired_outcomes(first, second, names, draw).difference
            found[first_alone, second_alone] = estimate.low, estimate.high
    return found


@pytest.mark.parametrize(("samples", "least"), [(8, 0.85), (24, 0.90)])
def test_the_interval_covers_the_truth_as_often_as_it_says(samples: int, least: float) -> None:
    """Over truths of every kind, drawn by seed; at each, coverage is summed over all outcomes.

    `least` is what is left at the worst of them, where nearly all samples go one way and the
    sample hardly ever shows one that does not: an interval of 95 in 100 over all truths pays there.
    """
    intervals = all_intervals(samples)
    outcomes = np.array([(one, other, samples - one - other) for one, other in intervals])
    low, high = np.array([*intervals.values()]).T
    coverage = []
    for truth in rng().dirichlet([1, 1, 1], size=1000):
        difference = truth[1] - truth[0]
        covered = (low <= difference) & (difference <= high)
        coverage.append(multinomial.pmf(outcomes, samples, truth)[covered].sum())
    assert 0.945 <= np.mean(coverage) <= 0.965
    assert np.quantile(coverage, 0.05) >= 0.92
    assert min(coverage) >= least


def test_the_interval_covers_the_truth_where_samples_share_photographs() -> None:
    """Three samples a photograph, which break together four times in five."""
    draw, covered, as_if_apart, repeats = rng(), 0, 0, 3
    # Of pairs broken in both, in the first, in the second, in neither.
    shares = np.array([0.2, 0.4, 0.05, 0.35])
    clusters = [str(number) for number in range(20) for _ in range(repeats)]
    names = [str(number) for number in range(len(clusters))]
    for _ in range(ROUNDS):
        own = draw.choice(4, size=len(clusters), p=shares)
        shared = np.repeat(draw.choice(4, size=20, p=shares), repeats)
        first, second = PAIRS[np.where(draw.random(len(clusters)) < 0.8, shared, own)].T
        for of_samples in (clusters, names):
            found = paired_outcomes(first.tolist(), second.tolist(), of_samples, draw).difference
            covers = found.low <= shares[2] - shares[1] <= found.high
            covered += covers and of_samples is clusters
            as_if_apart += covers and of_samples is names
    assert covered / ROUNDS >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / ROUNDS)
    assert as_if_apart / ROUNDS < 0.9


@pytest.mark.parametrize("samples", [8, 24, 96])
def test_the_test_calls_chance_a_difference_no_more_often_than_it_says(samples: int) -> None:
    draw, rejected = rng(samples), 0
    for _ in range(4000):
        counts = draw.multinomial(samples, [0.3, 0.2, 0.2, 0.3])
        rejected += mcnemar(int(counts[1]), int(counts[2])) <= 0.05
    assert rejected / 4000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)
