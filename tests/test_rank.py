"""Entries from records: rates, gaps, errors and work, with denominators fixed before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dorib.errors import DoribError
from dorib.ranking.observations import UNSCORABLE
from dorib.ranking.records import Record
from fixtures.scored import (
    CELLS,
    CONTROLS,
    MEMORIZED,
    PROMPTS,
    QUANTITIES,
    RECORDS,
    RUN,
    WITHOUT_ORACLE,
    cell,
    entries,
    error,
    ids,
    replication,
    without,
)


def test_rates_are_of_what_broke_within_the_largest_budget() -> None:
    # Sample m0 breaks at 100 and not at 400; an attacker keeps what worked.
    entry = entries()["hide", "dori"]
    assert entry.memorization_rate is not None and entry.controls_rate is not None
    assert (entry.memorization_rate.hits, entry.memorization_rate.n) == (6, 8)
    assert entry.memorization_rate.low < 6 / 8 < entry.memorization_rate.high
    assert entry.replication_rate == 5 / 16
    assert (entry.controls_rate.hits, entry.controls_rate.n) == (1, 4)
    assert entry.oracle_rate is not None and entry.oracle_rate.hits == 1
    assert [point.budget for point in entry.curve] == [100, 400]
    assert [point.memorized.hits for point in entry.curve if point.memorized] == [4, 6]
    assert entry.samples.clusters == 4
    assert entry.errors == 0


def test_no_attack_has_budget_zero_and_nothing_to_survive() -> None:
    entry = entries()["hide", "none"]
    assert [point.budget for point in entry.curve] == [0]
    assert entry.work_to_break is None
    assert entry.work.search_mean_memorized == 0


def test_gap_is_paired_with_the_oracle_under_the_same_attack() -> None:
    found = entries()
    entry = found["hide", "dori"]
    assert entry.gap_reference == "oracle"
    assert entry.erasure_gap is not None
    assert entry.erasure_gap.value == pytest.approx(6 / 8 - 1 / 8)
    assert entry.erasure_gap.low < 5 / 8 < entry.erasure_gap.high
    under_none = found["hide", "none"].erasure_gap
    assert under_none is not None and under_none.value == pytest.approx(2 / 8)
    assert found["retrain", "dori"].erasure_gap is None


def test_gap_without_an_oracle_is_taken_from_the_controls() -> None:
    entry = entries(replace(RUN, oracle=None), WITHOUT_ORACLE)["hide", "dori"]
    assert entry.gap_reference == "controls"
    assert entry.erasure_gap is not None
    assert entry.erasure_gap.value == pytest.approx(6 / 8 - 1 / 4)


def test_neither_oracle_nor_controls_is_said() -> None:
    entry = entries(replace(RUN, oracle=None, controls=()), WITHOUT_ORACLE)["hide", "dori"]
    assert entry.erasure_gap is None and entry.controls_rate is None
    assert entry.reason_not_ranked == "neither an oracle nor controls to compare with"


def test_recovered_share() -> None:
    found = entries()
    assert found["hide", "dori"].recovered_share == pytest.approx((6 - 2) / (8 - 2))
    assert found["none", "dori"].recovered_share is None
    # What the unmitigated model shows when it is asked is what could be hidden.
    records = [r for r in RECORDS if (r.mitigation, r.attack) != ("none", "none")]
    asked = entries(records=[*records, *replication("none", "none", {0: ids(7)})])
    assert asked["hide", "dori"].recovered_share == pytest.approx((6 - 2) / (7 - 2))


def test_work_to_break_is_the_first_budget_even_if_a_larger_one_fails() -> None:
    # Sample m0 breaks at 100 and not at 400; m4 and m5 break at 400; m6 and m7 at neither.
    curve = entries()["hide", "dori"].work_to_break
    assert curve is not None
    assert curve.survival == pytest.approx((4 / 8, 2 / 8))
    assert curve.restricted_mean == pytest.approx(100 + 300 * 4 / 8)
    assert (curve.censored, curve.n) == (2, 8)
    controls = entries()["hide", "dori"].work_to_break_controls
    assert controls is not None and controls.survival == pytest.approx((1, 3 / 4))


def test_work() -> None:
    work = entries()["hide", "dori"].work
    assert (work.fit, work.search_mean_memorized, work.judging) == (7, 396, 9)


@settings(max_examples=20, deadline=None)
@given(st.sets(st.sampled_from(ids(8))))
def test_errors_stay_in_the_denominator_and_a_row_with_errors_is_not_ranked(
    crashed: set[str],
) -> None:
    records = [
        error(r) if (r.mitigation, r.attack, r.sample) == ("hide", "dori", s) else r
        for r in RECORDS
        for s in [r.sample if r.sample in crashed else None]
    ]
    entry = entries(records=records)["hide", "dori"]
    assert entry.memorization_rate is not None
    assert entry.memorization_rate.n == 8
    assert entry.memorization_rate.errors == entry.errors == len(crashed)
    assert entry.memorization_rate.hits == len(set(ids(6)) - crashed)
    assert entry.ranked == (not crashed)
    assert ("errors" in (entry.reason_not_ranked or "")) == bool(crashed)


def test_a_missing_record_is_an_error_too() -> None:
    records = without("replicates", mitigation="hide", attack="dori", budget=100, sample="m7")
    entry = entries(records=records)["hide", "dori"]
    assert entry.errors == 1 and not entry.ranked
    for point in entry.curve:
        # At the larger budget too it is not known whether the sample had broken before.
        assert point.memorized is not None
        assert (point.memorized.n, point.memorized.errors) == (8, 1)


def test_one_image_lost_of_a_sample_that_was_seen_to_replicate_leaves_it_a_hit() -> None:
    records = without("replicates", mitigation="hide", attack="none", sample="m0", seed=0)
    entry = entries(records=records)["hide", "none"]
    rate = entry.memorization_rate
    assert rate is not None and (rate.hits, rate.errors) == (2, 1)
    # Of k images, not of those there are.
    assert entry.replication_rate == 2 * (1 / 2) / 8


def test_an_error_of_another_metric_touches_the_row_and_not_the_rate() -> None:
    first = next(r for r in RECORDS if (r.mitigation, r.attack) == ("hide", "dori"))
    entry = entries(records=[*RECORDS, error(first, "clip")])["hide", "dori"]
    assert entry.memorization_rate is not None and entry.memorization_rate.errors == 0
    assert entry.errors == 1 and not entry.ranked


def test_errors_of_the_oracle_leave_its_attack_unranked() -> None:
    records = without("replicates", mitigation="retrain", attack="dori", sample="m3")
    found = entries(records=records)
    assert found["hide", "dori"].reason_not_ranked == (
        "errors: 1 of the oracle's samples lack a value"
    )
    assert found["hide", "none"].ranked


def test_a_record_that_comes_twice_counts_once() -> None:
    assert entries(records=[*RECORDS, *RECORDS]) == entries()


@pytest.mark.parametrize("metric", ["replicates", "clip_alignment"])
@pytest.mark.parametrize("last", [True, False])
def test_two_values_of_one_place_are_an_error(metric: str, last: bool) -> None:
    record = next(r for r in RECORDS if r.metric == metric and r.mitigation == "hide")
    assert record.value is not None
    other = record.model_copy(update={"value": 1 - record.value})
    with pytest.raises(DoribError, match=f"{metric} of sample {record.sample}.* is both") as caught:
        entries(records=[*RECORDS, other] if last else [other, *RECORDS])
    assert "\n" not in str(caught.value)


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter(random: Any) -> None:
    shuffled = list(RECORDS)
    random.shuffle(shuffled)
    assert entries(records=shuffled) == entries()


def test_a_sample_without_an_original_is_no_error() -> None:
    lacking = error(RECORDS[-1], UNSCORABLE)
    records = [*RECORDS, lacking.model_copy(update={"sample": "m99"})]
    assert entries(records=records) == entries()


def test_an_error_of_a_control_touches_the_row() -> None:
    found = next(r for r in RECORDS if (r.mitigation, r.attack, r.sample) == ("hide", "dori", "c2"))
    entry = entries(records=[*RECORDS, error(found, "clip")])["hide", "dori"]
    assert entry.errors == 1 and not entry.ranked
    lost = without("replicates", mitigation="hide", attack="dori", budget=400, sample="c2")
    entry = entries(records=lost)["hide", "dori"]
    assert entry.controls_rate is not None and entry.controls_rate.errors == 1
    assert entry.errors == 1 and not entry.ranked


def test_an_error_of_the_controls_at_a_smaller_budget_touches_the_row() -> None:
    lost = without("replicates", mitigation="hide", attack="dori", budget=100, sample="c2")
    entry = entries(records=lost)["hide", "dori"]
    assert [p.controls.errors for p in entry.curve if p.controls] == [1, 1]
    assert entry.errors == 1 and not entry.ranked


def test_photographs_are_what_a_gap_is_bootstrapped_over() -> None:
    """Two samples of each photograph share their luck: four clusters say less than eight."""
    alone = replace(
        RUN, memorized=tuple(replace(s, cluster=f"photograph of {s.id}") for s in MEMORIZED)
    )
    paired = entries()["hide", "dori"].erasure_gap
    independent = entries(alone)["hide", "dori"].erasure_gap
    assert paired and independent and paired.value == independent.value
    assert paired.high - paired.low > 1.15 * (independent.high - independent.low)


def test_clusters_of_both_groups_count_where_the_controls_are_compared_with() -> None:
    run = replace(RUN, oracle=None)
    one = tuple(replace(s, cluster="the same") for s in CONTROLS)
    for changed in (
        replace(run, controls=one),
        replace(run, memorized=tuple(replace(s, cluster=s.id) for s in MEMORIZED)),
    ):
        gap = entries(changed, WITHOUT_ORACLE)["hide", "dori"].erasure_gap
        unchanged = entries(run, WITHOUT_ORACLE)["hide", "dori"].erasure_gap
        assert gap and unchanged and gap.value == unchanged.value
        assert abs((gap.high - gap.low) - (unchanged.high - unchanged.low)) > 0.02


def likeness(
    mitigation: str, attack: str, budget: int, values: Mapping[str, float]
) -> list[Record]:
    """Each sample's images at its cosine."""
    return [
        r.model_copy(update={"metric": "sscd_original", "value": values.get(r.sample or "", 0.2)})
        for r in replication(mitigation, attack, {budget: []})
    ]


def test_rates_at_other_thresholds_stand_beside_the_suite_s() -> None:
    run = replace(RUN, thresholds=(0.5, 0.7))
    records = [
        *RECORDS,
        *likeness("hide", "dori", 100, {"m0": 0.9, "m1": 0.6}),
        *likeness("hide", "dori", 400, {"m2": 0.7, "m3": 0.5, "c0": 0.55}),
        *likeness("retrain", "dori", 100, {}),
        *likeness("retrain", "dori", 400, {"m3": 0.6}),
    ]
    entry = entries(run, records=records)["hide", "dori"]
    half, seven = entry.rates_at_thresholds
    assert (half.threshold, seven.threshold) == (0.5, 0.7)
    # Within the budget, and the threshold itself counts.
    assert (half.memorized.hits, seven.memorized.hits) == (4, 2)
    assert half.controls and seven.controls and half.oracle and seven.oracle
    assert (half.controls.hits, seven.controls.hits) == (1, 0)
    assert (half.oracle.hits, seven.oracle.hits) == (1, 0)
    assert half.memorized.n == 8 and half.memorized.errors == 0
    assert entries(records=records)["hide", "dori"].rates_at_thresholds == ()


def test_twins_and_other_quantities_are_summarised() -> None:
    twins = [
        r.model_copy(update={"metric": "sscd_twin", "value": 0.1 * i**2})
        for i, r in enumerate(replication("hide", "dori", {400: []}))
        if r.role == "memorized" and r.sample in ids(2)
    ]
    entry = entries(records=[*RECORDS, *twins])["hide", "dori"]
    summary = entry.summaries.memorized["sscd_twin"]
    assert (summary.n, summary.level) == (4, "image")
    # 0, 0.1, 0.4 and 0.9: the deviations are from the median, not from the mean.
    assert (summary.mean, summary.median) == pytest.approx((0.35, 0.25))
    assert summary.median_absolute_deviation == pytest.approx(0.2)
    assert entry.curve[1].medians == {"sscd_twin": summary.median}
    assert "replicates" not in entry.summaries.memorized
    assert entry.summaries.utility["clip_alignment"].n == len(PROMPTS)


def test_a_run_without_a_replication_metric_still_has_entries() -> None:
    quantities = {name: q for name, q in QUANTITIES.items() if name.startswith("clip")}
    records = [r for r in RECORDS if r.metric in quantities]
    entry = entries(replace(RUN, quantities=quantities), records=records)["hide", "dori"]
    assert entry.memorization_rate is None and entry.erasure_gap is None
    assert entry.work_to_break is None and entry.utility is not None
    assert (entry.errors, entry.reason_not_ranked) == (0, "no metric tells of replication")


def test_what_cannot_be_run_says_why_and_has_no_errors() -> None:
    cells = [*CELLS, cell("hide", "words", not_applicable="the prompt filter drops it", work={})]
    entry = entries(cells=cells)["hide", "words"]
    assert entry.curve == () and entry.memorization_rate is None and entry.errors == 0
    assert entry.reason_not_ranked == "not applicable: the prompt filter drops it"


def test_reference_lines_are_no_rows() -> None:
    found = entries()
    for label in ("none", "retrain"):
        assert found[label, "dori"].reference_line and not found[label, "dori"].ranked
