"""The area under the curve, and its interval."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import mannwhitneyu

from dorib import auc, auc_interval

values = st.lists(st.integers(0, 9), min_size=1, max_size=12)
counts = st.integers(1, 400)
areas = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))


@given(ours=values, others=values)
def test_it_is_mann_and_whitneys_share_of_pairs(ours: list[int], others: list[int]) -> None:
    expected = mannwhitneyu(ours, others).statistic / (len(ours) * len(others))
    assert auc(ours, others) == pytest.approx(expected)


@given(value=areas, positives=counts, negatives=counts)
def test_the_interval_holds_the_value_and_has_a_width(
    value: float, positives: int, negatives: int
) -> None:
    low, high = auc_interval(value, positives, negatives)
    assert 0 <= low <= value <= high <= 1
    assert high - low > 1e-6
    mirrored = auc_interval(1 - value, positives, negatives)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_interval_does_not_leap_at_the_ends(value: float) -> None:
    near = abs(value - 1e-7)
    assert auc_interval(value, 12, 16) == pytest.approx(auc_interval(near, 12, 16), abs=1e-5)


@pytest.mark.parametrize("true", [0.6, 0.9, 0.98])
def test_it_covers_the_truth_as_often_as_it_says(true: float) -> None:
    """Of normal values, at the numbers of a split: many of these AUCs are 1."""
    rng, trials = np.random.default_rng(0), 1000
    apart = float(np.sqrt(2) * _quantile(true))
    covered = 0
    for _ in range(trials):
        value = auc(rng.normal(apart, 1, 12), rng.normal(0, 1, 16))
        low, high = auc_interval(value, 12, 16)
        covered += low <= true <= high
    assert covered / trials >= 0.93


def _quantile(share: float) -> float:
    grid = np.linspace(0, 5, 100_001)
    return float(grid[np.searchsorted(ndtr(grid), share)])
