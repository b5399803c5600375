from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta, binomtest, ttest_1samp

from dorib.ranking.estimates.survival import kaplan_meier
from dorib.ranking.statistics import (
    clopper_pearson,
    paired_difference,
    recovered_share,
    unpaired_difference,
    utility_share,
)

outcomes = st.lists(st.booleans(), min_size=1, max_size=30)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(deadline=None)
@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_exact_interval_agrees_with_scipys_binomial_test(hits_n: tuple[int, int]) -> None:
    expected = binomtest(*hits_n).proportion_ci(0.95, method="exact")
    assert clopper_pearson(*hits_n) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_what_is_no_rate_is_refused(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="no rate"):
        clopper_pearson(hits, n)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("abcde")), min_size=1))
def test_paired_difference_brackets_its_value_and_turns_with_its_sides(
    rows: list[tuple[bool, bool, str]],
) -> None:
    ours, reference, clusters = zip(*rows, strict=True)
    there = paired_difference(ours, reference, clusters, rng())
    back = paired_difference(reference, ours, clusters, rng())
    assert there.value == pytest.approx(np.mean(ours) - np.mean(reference))
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert there.low < there.high
    assert back.value == pytest.approx(-there.value)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=0.05)


def test_a_difference_is_the_same_for_the_same_seed_and_not_for_another() -> None:
    ours, reference = [1, 0, 1, 1, 0, 1, 0, 1, 1], [0, 0, 1, 0, 0, 0, 0, 1, 0]
    clusters = list("aabcdefgh")
    first = paired_difference(ours, reference, clusters, rng(3), draws=37)
    assert first == paired_difference(ours, reference, clusters, rng(3), draws=37)
    assert first != paired_difference(ours, reference, clusters, rng(4), draws=37)


def test_samples_of_one_photograph_count_as_one() -> None:
    """Copies of a sample within its cluster add nothing: the interval is that of the clusters."""
    ours, reference = [1, 0, 1, 1, 0, 1], [0, 0, 1, 0, 0, 0]
    clusters = list("abcdef")
    single = paired_difference(ours, reference, clusters, rng())
    fivefold = paired_difference(ours * 5, reference * 5, clusters * 5, rng())
    as_if_independent = paired_difference(
        ours * 5, reference * 5, [str(i) for i in range(30)], rng()
    )
    assert fivefold == pytest.approx(single)
    assert as_if_independent.high - as_if_independent.low < 0.6 * (single.high - single.low)


def test_paired_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Forty photographs of two samples each, which share most of their luck."""
    repeats, covered = 300, 0
    for repeat in range(repeats):
        draw = rng(repeat)
        clusters = np.repeat(np.arange(40), 2)
        ease = np.repeat(draw.random(40), 2)
        ours = draw.random(80) < 0.3 + 0.6 * ease
        reference = draw.random(80) < 0.1 + 0.4 * ease
        estimate = paired_difference(ours, reference, [str(c) for c in clusters], draw, draws=1000)
        covered += estimate.low <= 0.3 <= estimate.high
    # 95 % of 300, less three standard errors.
    assert 0.91 <= covered / repeats <= 0.99


def test_twelve_samples_cover_the_truth_as_often_as_they_say() -> None:
    """Over many truths, most of them extreme, where the percentile bootstrap fails."""
    names, pairs = list("abcdefghijkl"), np.array([(1, 1), (1, 0), (0, 1), (0, 0)])
    draw = rng()
    covered, covered_by_bootstrap = [], []
    for truth in draw.dirichlet([0.3, 0.3, 0.1, 0.3], size=2000):
        ours, reference = pairs[draw.choice(4, size=12, p=truth)].T
        estimate = paired_difference(ours, reference, names, draw, draws=500)
        resampled = (ours - reference)[draw.integers(12, size=(500, 12))].mean(axis=1)
        low, high = np.quantile(resampled, [0.025, 0.975])
        covered.append(estimate.low <= truth[1] - truth[2] <= estimate.high)
        covered_by_bootstrap.append(low <= truth[1] - truth[2] <= high)
    assert 0.94 <= np.mean(covered) <= 0.98
    assert np.mean(covered_by_bootstrap) < 0.75


def test_an_interval_of_a_rate_is_that_of_jeffreys_prior() -> None:
    """Where each sample is a cluster of its own the posterior is known in closed form."""
    hits, n, many = 9, 12, 3000
    ours, names = [1] * hits + [0] * (n - hits), [str(i) for i in range(n)]
    misses = [0] * many, [str(i) for i in range(many)]
    estimate = unpaired_difference(ours, names, *misses, rng(), draws=5000)
    expected = beta.ppf([0.025, 0.975], hits + 0.5, n - hits + 0.5)
    assert (estimate.low, estimate.high) == pytest.approx(expected, abs=0.02)


def test_unpaired_interval_covers_the_truth_as_often_as_it_says() -> None:
    repeats, covered = 300, 0
    for repeat in range(repeats):
        draw = rng(repeat)
        ours, controls = draw.random(60) < 0.7, draw.random(30) < 0.3
        estimate = unpaired_difference(
            ours,
            [str(i) for i in range(60)],
            controls,
            [str(i) for i in range(30)],
            draw,
            draws=500,
        )
        covered += estimate.low <= 0.4 <= estimate.high
    assert 0.89 <= covered / repeats <= 0.99


def test_unpaired_difference_turns_with_its_sides() -> None:
    """Where all of one group are hits and none of the other, both are in doubt alike."""
    names = list("abcdef")
    ahead = unpaired_difference([1] * 6, names, [0] * 6, names, rng())
    behind = unpaired_difference([0] * 6, names, [1] * 6, names, rng())
    assert (ahead.value, behind.value) == (1, -1)
    assert ahead.low == pytest.approx(-behind.high, abs=0.05)


def test_a_large_cluster_weighs_as_its_samples_do() -> None:
    """Half of the samples win: those of one photograph, or those of ten."""
    clusters = ["large"] * 10 + list("abcdefghij")
    large = np.array([1] * 10 + [0] * 10)
    one = paired_difference(large, np.zeros(20), clusters, rng())
    ten = paired_difference(1 - large, np.zeros(20), clusters, rng())
    assert one.value == ten.value == 0.5
    assert one.high == pytest.approx(ten.high, abs=0.15)


def test_unpaired_groups_may_differ_in_size() -> None:
    estimate = unpaired_difference([1, 1, 0, 1], list("abcd"), [0, 0], list("xy"), rng())
    assert estimate.value == 0.75
    assert -1 <= estimate.low < 0.75 < estimate.high <= 1


@pytest.mark.parametrize(
    ("ours", "reference", "clusters"),
    [([], [], []), ([1, 0], [1], ["a", "b"]), ([1, 0], [0, 0], ["a"])],
)
def test_lengths_that_do_not_fit_are_refused(
    ours: list[int], reference: list[int], clusters: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"sample|value"):
        paired_difference(ours, reference, clusters, rng())


def test_survival_of_a_case_worked_by_hand() -> None:
    # Six samples: broken at 10, 10 and 30; censored at 20, 30 and 40.
    curve = kaplan_meier([10, 10, 20, 30, 30, 40], [True, True, False, True, False, False])
    assert curve.times == (10, 20, 30, 40)
    # At 10: 2 of 6 break. At 30: 1 of the 3 still at risk, the one censored there among them.
    assert curve.shares == pytest.approx((4 / 6, 4 / 6, 4 / 9, 4 / 9))
    assert [curve.at(t) for t in (0, 9, 10, 29, 30, 99)] == pytest.approx(
        [1, 1, 4 / 6, 4 / 6, 4 / 9, 4 / 9]
    )
    assert curve.restricted_mean(40) == pytest.approx(10 + 20 * 4 / 6 + 10 * 4 / 9)
    assert curve.restricted_mean(15) == pytest.approx(10 + 5 * 4 / 6)


@settings(deadline=None)
@given(st.lists(st.sampled_from([100, 400, 1600, None]), min_size=1, max_size=40))
def test_without_early_censoring_survival_is_the_share_not_yet_broken(
    first: list[int | None],
) -> None:
    times = [1600 if budget is None else budget for budget in first]
    curve = kaplan_meier(times, [budget is not None for budget in first])
    for budget in (100, 400, 1600):
        broken = sum(b is not None and b <= budget for b in first)
        assert curve.at(budget) == pytest.approx(1 - broken / len(first))
    assert curve.restricted_mean(1600) == pytest.approx(np.mean(times))


def test_utility_is_a_share_of_the_span() -> None:
    shuffled, unmitigated = [0.1, 0.2, 0.1, 0.2], [0.3, 0.4, 0.3, 0.4]
    for aligned, share in (([0.2, 0.3, 0.2, 0.3], 0.5), (unmitigated, 1), (shuffled, 0)):
        found = utility_share(aligned, unmitigated, shuffled, rng())
        assert found is not None and found.low is not None and found.high is not None
        assert found.value == pytest.approx(share)
        assert found.low <= share <= found.high
        # Four prompts that all agree do not show that a fifth would.
        assert 0.2 < found.high - found.low < 1


@pytest.mark.parametrize("n", [1, 2, 3])
def test_too_few_prompts_have_a_utility_and_no_interval(n: int) -> None:
    found = utility_share([0.2] * n, [0.3] * n, [0.1] * n, rng())
    assert found is not None and found.value == pytest.approx(0.5)
    assert (found.low, found.high) == (None, None)
    assert utility_share([0.2] * n, [0.3] * (n - 1) + [0.1], [0.1] * n, rng()) is None


def test_a_utility_interval_holds_what_a_t_test_cannot_reject() -> None:
    """Fieller's bounds are the ratios at which gains and scaled spans barely differ."""
    draw = rng(5)
    span = draw.normal(0.5, 0.1, 12)
    gain = 0.6 * span + draw.normal(0, 0.2, 12)
    found = utility_share(gain, span, np.zeros(12), rng())
    assert found is not None and found.low is not None and found.high is not None
    assert found.value == pytest.approx(gain.sum() / span.sum())
    # Gains that scatter so: the bootstrap's bounds lie inside.
    for bound in (found.low, found.high):
        assert ttest_1samp(gain - bound * span, 0).pvalue == pytest.approx(0.05, abs=1e-6)


Drawn = tuple[NDArray[np.float64], NDArray[np.float64]]


def little_from_all(draw: np.random.Generator, n: int) -> tuple[Drawn, float]:
    span = draw.normal(0.8, 0.2, n)
    return (0.85 * span + draw.normal(0, 0.1, n), span), 0.85


def noisy_judge(draw: np.random.Generator, n: int) -> tuple[Drawn, float]:
    prompt, noise = draw.normal(0, 0.05, n), draw.normal(0, 0.05, (3, n))
    shuffled = 0.15 + prompt + noise[2]
    gain, span = 0.27 + prompt + noise[0] - shuffled, 0.30 + prompt + noise[1] - shuffled
    return (gain, span), 0.8


def all_from_a_few(draw: np.random.Generator, n: int) -> tuple[Drawn, float]:
    span = draw.normal(0.8, 0.15, n)
    ruined = draw.random(n) < 0.25
    return (np.where(ruined, draw.normal(0, 0.1, n), span + draw.normal(0, 0.03, n)), span), 0.75


@pytest.mark.parametrize("n", [4, 8, 16, 64])
@pytest.mark.parametrize("population", [little_from_all, noisy_judge, all_from_a_few])
def test_utility_interval_covers_the_truth_as_often_as_it_says(
    population: Callable[[np.random.Generator, int], tuple[Drawn, float]], n: int
) -> None:
    covered = []
    for repeat in range(600):
        draw = rng(repeat)
        (gain, span), truth = population(draw, n)
        found = utility_share(gain, span, np.zeros(n), draw, draws=500)
        if found is not None:
            assert found.low is not None and found.high is not None
            covered.append(found.low <= truth <= found.high)
    assert len(covered) > 450
    assert np.mean(covered) >= 0.93


def test_no_utility_where_the_judge_cannot_tell_captions_apart() -> None:
    alignment = rng().normal(0.2, 0.1, 20)
    assert utility_share(alignment, alignment, rng(1).normal(0.2, 0.1, 20), rng()) is None


def test_no_utility_where_a_span_above_0_cannot_be_told_from_it() -> None:
    unmitigated = np.array([0.3, -0.2] * 4)
    assert unmitigated.mean() > 0
    assert utility_share(unmitigated / 2, unmitigated, np.zeros(8), rng()) is None


@pytest.mark.parametrize(
    "sizes",
    [
        [10] + [1] * 11,
        [20] + [1] * 11,
        [1, 1, 2, 2, 4, 4, 8, 8, 16, 16],
        [*range(1, 13)],
        [10] * 5 + [1] * 20,
    ],
)
@pytest.mark.parametrize("truth", [(0.4, 0.4, 0.2), (0.9, 0.1, 0.0), (0.05, 0.95, 0.0)])
def test_unequal_clusters_cover_the_truth_as_often_as_they_say(
    sizes: list[int], truth: tuple[float, float, float]
) -> None:
    """All samples of a photograph share their luck: a large one decides much at once."""
    members = np.repeat(np.arange(len(sizes)), sizes)
    clusters = [str(member) for member in members]
    outcomes = np.array([1.0, 0.0, -1.0])
    covered = []
    for repeat in range(600):
        draw = rng(repeat)
        difference = draw.choice(outcomes, p=truth, size=len(sizes))[members]
        found = paired_difference(difference > 0, difference < 0, clusters, draw, draws=500)
        covered.append(found.low <= truth[0] - truth[2] <= found.high)
    # 93 % of 600, less a standard error.
    assert np.mean(covered) >= 0.92


def test_recovered_share() -> None:
    assert recovered_share(0.75, 0.25, 1.0) == pytest.approx(2 / 3)
    assert recovered_share(0.25, 0.25, 1.0) == 0
    assert recovered_share(0.5, 1.0, 1.0) is None
    assert recovered_share(0.5, 1.0, 0.5) is None
