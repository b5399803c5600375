"""Utility: its zero and one, its kinds, and the bar below which nothing is ranked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from dorib.ranking.leaderboard import leaderboard
from dorib.ranking.records import Record
from fixtures.scored import (
    PROMPTS,
    QUANTITIES,
    RECORDS,
    RUN,
    entries,
    error,
    utility,
    without,
)


def test_utility_below_the_bar_is_shown_but_not_ranked() -> None:
    found = entries()
    passing = found["hide", "dori"].utility
    assert passing is not None and passing.value == pytest.approx(0.9)
    records = [*without("clip_alignment", mitigation="hide"), *utility("hide", 0.2)]
    entry = entries(records=records)["hide", "dori"]
    assert entry.utility is not None and entry.utility.value == pytest.approx(0.5)
    assert entry.reason_not_ranked == "utility 0.50 is below 0.8"


KINDS = {prompt: "photograph" if i < 4 else "scene" for i, prompt in enumerate(PROMPTS)}


def of_kind(mitigation: str, values: Mapping[str, float]) -> Iterator[Record]:
    """Alignment with the other captions of each prompt's kind."""
    for record in utility(mitigation, 0.0):
        if record.metric == "clip_alignment" and record.sample in values:
            value = values[record.sample]
            yield record.model_copy(update={"metric": "clip_alignment_of_kind", "value": value})


def test_utility_of_a_kind_is_between_its_own_other_captions_and_the_unmitigated_model() -> None:
    spoiled = [r for r in utility("hide", 0.25) if r.sample in PROMPTS[:4]]
    kept = [r for r in utility("hide", 0.3) if r.sample in PROMPTS[4:]]
    # Photographs are alike: another photograph's caption fits better than a scene's.
    zeros = {prompt: 0.2 if kind == "photograph" else 0.1 for prompt, kind in KINDS.items()}
    records = [
        *without("clip_alignment", mitigation="hide"),
        *spoiled,
        *kept,
        *of_kind("none", zeros),
        # What the mitigated model's images have in common with other captions is no zero.
        *of_kind("hide", dict.fromkeys(PROMPTS, 0.24)),
    ]
    found = entries(replace(RUN, utility_kinds=KINDS), records=records)
    entry = found["hide", "dori"]
    assert {kind: share.value for kind, share in entry.utility_by_kind.items()} == pytest.approx(
        {"photograph": 0.5, "scene": 1.0}
    )
    assert entry.utility is not None and entry.utility.value == pytest.approx((4 * 0.75 + 2) / 6)
    assert entry.utility_by_kind["photograph"].low is not None
    assert entry.utility_by_kind["scene"].low is None, "two prompts allow no interval"
    assert leaderboard(list(found.values())).rows[0].utility_by_kind == entry.utility_by_kind
    for share in found["none", "dori"].utility_by_kind.values():
        assert share.value == 1


def test_a_kind_of_a_single_caption_has_no_utility_of_its_own() -> None:
    records = [*RECORDS, *of_kind("none", dict.fromkeys(PROMPTS[:4], 0.1))]
    entry = entries(replace(RUN, utility_kinds=KINDS), records=records)["hide", "dori"]
    assert set(entry.utility_by_kind) == {"photograph"}


@pytest.mark.parametrize(
    ("aligned", "reason"),
    [
        (0.1 + 0.2 * 0.7996, "utility 0.7996 is below 0.8"),
        (0.1 + 0.2 * 0.79, "utility 0.79 is below 0.8"),
        (0.1 + 0.2 * 0.8001, None),
    ],
)
def test_what_is_printed_of_a_utility_is_on_its_side_of_the_bar(
    aligned: float, reason: str | None
) -> None:
    records = [*without("clip_alignment", mitigation="hide"), *utility("hide", aligned)]
    assert entries(records=records)["hide", "dori"].reason_not_ranked == reason


def test_the_bar_itself_is_enough() -> None:
    # In binary fractions the share is 0.75 / 0.9375 to the last digit.
    values = {"none": 1.0, "retrain": 1.0, "hide": 0.8125}
    records = [r for r in RECORDS if r.role != "utility"]
    for label, value in values.items():
        for record in utility(label, value):
            shuffled = record.metric == "clip_alignment_shuffled"
            records.append(record.model_copy(update={"value": 0.0625}) if shuffled else record)
    entry = entries(records=records)["hide", "dori"]
    assert entry.utility is not None and entry.utility.value == 0.8
    assert entry.ranked


def test_utility_s_zero_and_one_are_the_unmitigated_model_s() -> None:
    # The mitigated model's own shuffled captions say nothing.
    records = [
        r.model_copy(update={"value": 0.25})
        if (r.mitigation, r.metric) == ("hide", "clip_alignment_shuffled")
        else r
        for r in RECORDS
    ]
    assert entries(records=records)["hide", "dori"].utility == entries()["hide", "dori"].utility


def test_utility_without_kinds_is_one_number() -> None:
    assert entries()["hide", "dori"].utility_by_kind == {}


def test_a_prompt_without_a_value_counts_as_chance_and_as_an_error() -> None:
    records = without("clip_alignment", mitigation="hide", sample=PROMPTS[0])
    entry = entries(records=records)["hide", "dori"]
    assert entry.utility is not None
    assert entry.utility.value == pytest.approx(0.9 * 5 / 6)
    assert entry.errors == 1 and not entry.ranked


def test_an_error_of_another_metric_on_a_prompt_touches_the_row_and_not_the_utility() -> None:
    found = next(r for r in RECORDS if (r.mitigation, r.role) == ("hide", "utility"))
    entry = entries(records=[*RECORDS, error(found, "image-quality")])["hide", "dori"]
    assert entry.utility == entries()["hide", "dori"].utility
    assert entry.errors == 1 and not entry.ranked


def test_a_prompt_that_the_unmitigated_model_lacks_is_left_out_and_said() -> None:
    records = without("clip_alignment", mitigation="none", sample=PROMPTS[0])
    entry = entries(records=records)["hide", "dori"]
    assert entry.utility is not None and entry.utility.value == pytest.approx(0.9)
    assert entry.reason_not_ranked == "errors: 1 prompts lack the unmitigated model's value"


def test_a_run_without_a_utility_metric_is_not_ranked() -> None:
    quantities = {n: q for n, q in QUANTITIES.items() if not n.startswith("clip")}
    run = replace(RUN, quantities=quantities, utility_prompts=())
    entry = entries(run, records=[r for r in RECORDS if r.role != "utility"])["hide", "dori"]
    assert (entry.errors, entry.reason_not_ranked) == (0, "utility not measured")
