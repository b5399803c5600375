"""A second judge in entries, on boards and in tables: beside the first, and deciding nothing."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from dorib.cli.display import results_table
from dorib.host.registry import Registry
from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import leaderboard, write_leaderboard
from dorib.ranking.rank import rank
from dorib.ranking.records import Record
from dorib.report.html import results_html
from dorib.report.overview import footnotes
from dorib.report.site.pages import write_site
from fixtures.notebook_html import Shown
from fixtures.scored import (
    CELLS,
    MEMORIZED,
    RECORDS,
    RECORDS_TWICE,
    RUN,
    RUN_TWICE,
    K,
    entries,
    error,
)


def twice(records: Sequence[Record] = RECORDS_TWICE) -> dict[tuple[str, str], Entry]:
    return entries(RUN_TWICE, CELLS, records)


def test_rates_of_the_second_and_verdicts_of_both() -> None:
    """At 100 the first sees m0 to m3, at 400 m1 to m5 and c0; the second never m5, always c3."""
    found = twice()["hide", "dori"].second_judge
    assert found is not None and found.controls is not None and found.oracle is not None
    assert (found.memorized.hits, found.memorized.n) == (5, 8)
    assert (found.controls.hits, found.controls.n) == (2, 4)
    assert (found.oracle.hits, found.oracle.n) == (1, 8)
    on_samples, on_controls = found.verdicts, found.verdicts_on_controls
    assert on_samples.model_dump() == {
        "both": 8,
        "first_alone": 1,
        "second_alone": 0,
        "neither": 23,
        "agreement": 31 / 32,
    }
    assert on_controls is not None
    assert (on_controls.both, on_controls.second_alone, on_controls.images) == (1, 2, 16)


def test_the_first_judge_s_rates_ranks_and_gaps_do_not_depend_on_the_second() -> None:
    alone, beside = entries(), twice()
    for cell, entry in beside.items():
        same = entry.model_copy(update={"second_judge": None, "stack": alone[cell].stack})
        assert same == alone[cell]
    orders = [
        [(row.mitigation.label, row.rank) for row in leaderboard([*found.values()]).rows]
        for found in (alone, beside)
    ]
    assert orders[0] == orders[1]


def test_a_suite_without_a_second_judge_has_none_in_any_entry() -> None:
    assert all(entry.second_judge is None for entry in entries().values())
    assert not any("agree" in note for note in footnotes([*entries().values()]))


def test_a_sample_without_a_value_is_an_error_of_both_and_no_image_of_either() -> None:
    """Its metric failed at the largest budget: what was seen at the smaller one counts."""
    kept = [
        r
        for r in RECORDS_TWICE
        if (r.mitigation, r.attack, r.sample, r.budget) != ("hide", "dori", "m7", 400)
    ]
    lost = next(r for r in RECORDS_TWICE if r not in kept)
    entry = twice([*kept, error(lost)])["hide", "dori"]
    assert entry.second_judge is not None and entry.memorization_rate is not None
    assert entry.memorization_rate.errors == entry.second_judge.memorized.errors == 1
    assert entry.errors == 1 and not entry.ranked
    assert entry.second_judge.verdicts.images == 32 - K


def test_a_sample_that_the_second_alone_lacks_is_an_error() -> None:
    kept = [
        r
        for r in RECORDS_TWICE
        if (r.mitigation, r.attack, r.sample, r.metric)
        != ("hide", "none", "m7", "replicates_second")
    ]
    entry = twice(kept)["hide", "none"]
    assert entry.second_judge is not None and entry.memorization_rate is not None
    assert (entry.memorization_rate.errors, entry.second_judge.memorized.errors) == (0, 1)
    assert entry.errors == 1 and not entry.ranked


def test_where_nothing_was_made_nothing_agrees() -> None:
    lost = [r for r in RECORDS_TWICE if (r.mitigation, r.attack) == ("hide", "dori")]
    kept = [r for r in RECORDS_TWICE if r not in lost]
    failed = {(r.sample, r.budget, r.role): error(r) for r in lost}
    entry = twice([*kept, *failed.values()])["hide", "dori"]
    assert entry.second_judge is not None
    assert entry.second_judge.verdicts.agreement is None
    assert printed([entry]).splitlines()[-1].split()[-1] == "-"


VERDICTS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=48, max_size=48)


@settings(max_examples=25, deadline=None)
@given(VERDICTS)
def test_any_verdicts_make_an_entry_that_agrees_with_itself(
    verdicts: list[tuple[bool, bool]],
) -> None:
    """Three cells and budgets of 16 images; validation is part of making an entry."""
    records = [*RECORDS_TWICE]
    changed = {"replicates": 0, "replicates_second": 1}
    left = {name: iter(verdicts) for name in changed}
    ids = {sample.id for sample in MEMORIZED}
    for place, record in enumerate(records):
        if record.mitigation == "hide" and record.metric in changed and record.sample in ids:
            value = next(left[record.metric])[changed[record.metric]]
            records[place] = record.model_copy(update={"value": float(value)})
    found = twice(records)
    both = sum(one and other for one, other in verdicts)
    seen = [found["hide", attack].second_judge for attack in ("none", "dori")]
    assert sum(judge.verdicts.both for judge in seen if judge) == both
    assert len(leaderboard([*found.values()]).rows) == 1


# What readers see.


def printed(of: Sequence[Entry], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(results_table(of))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_shows_the_agreement_beside_the_first_s_rate() -> None:
    lines = printed([*twice().values()]).splitlines()
    assert lines[0].split() == [
        *("mitigation", "/", "attack"),
        *("memorized", "controls", "oracle", "utility", "work", "agree", "flags"),
    ]
    row = next(line for line in reversed(lines) if line.split()[:1] == ["dori"])
    assert row.split() == ["dori", "0.75", "(0.35-0.97)", "0.25", "0.12", "0.90", "396", "0.97"]
    assert max(map(len, lines)) <= 80
    assert any(note.startswith("agree: ") for note in footnotes([*twice().values()]))
    assert "agree" not in printed([*entries().values()])


def test_a_notebook_shows_the_same_column() -> None:
    found = [*twice().values()]
    shown = Shown(results_html(found, {}))
    header, *_ = shown.rows
    assert header[-2:] == ["agree", "flags"]
    assert [row[6] for row in shown.rows if row[0] == "dori"] == ["0.94", "1.00", "0.97"]
    widths = {len(row) for row in shown.rows}
    assert widths == {2, 8}


def test_the_site_shows_the_second_s_rate_and_the_agreement(tmp_path: Path) -> None:
    write_leaderboard(tmp_path / "one", rank(RUN, CELLS, RECORDS))
    write_leaderboard(tmp_path / "two", rank(RUN_TWICE, CELLS, RECORDS_TWICE))
    write_site(tmp_path, Registry())
    one, two = ((tmp_path / name / "index.html").read_text() for name in ("one", "two"))
    assert "second judge 0.62, agree 0.97" in two
    assert "second judge" not in one


@pytest.mark.parametrize("name", ["memorization_rate", "erasure_gap", "recovered_share"])
def test_all_second_verdicts_reversed_change_no_headline(name: str) -> None:
    reversed_ = [
        r.model_copy(update={"value": 1 - r.value})
        if r.metric == "replicates_second" and r.value is not None
        else r
        for r in RECORDS_TWICE
    ]
    for cell, entry in twice(reversed_).items():
        assert getattr(entry, name) == getattr(entries()[cell], name)
