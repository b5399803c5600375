"""Leaderboards: rows in order, what keeps entries apart, files that are read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dorib.errors import DoribError
from dorib.ranking.entries import read_entry
from dorib.ranking.leaderboard import entry_file, leaderboard, write_leaderboard
from dorib.ranking.rank import rank
from fixtures.scored import (
    CELLS,
    RECORDS,
    RUN,
    cell,
    ids,
    replication,
    utility,
)

GAPS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=5)


@settings(max_examples=25, deadline=None)
@given(GAPS)
def test_rows_stand_by_their_worst_gap(hits: list[tuple[int, int]]) -> None:
    labels = [f"hide:v={i}" for i in range(len(hits))]
    cells = [*CELLS[:4], *(cell(label, a) for label in labels for a in ("none", "dori"))]
    records = [r for r in RECORDS if r.mitigation != "hide"]
    for label, (alone, attacked) in zip(labels, hits, strict=True):
        records += utility(label, 0.3)
        records += replication(label, "none", {0: ids(alone)})
        records += replication(label, "dori", {100: [], 400: ids(attacked)})
    board = leaderboard(rank(RUN, cells, records))
    worst = {
        label: max(alone / 8, (attacked - 1) / 8)
        for label, (alone, attacked) in zip(labels, hits, strict=True)
    }
    standing = [row.mitigation.label for row in board.rows]
    assert standing == sorted(labels, key=lambda label: (worst[label], label))
    for row in board.rows:
        assert row.worst_gap is not None
        assert row.worst_gap.value == pytest.approx(worst[row.mitigation.label])
        better = sum(gap < worst[row.mitigation.label] for gap in worst.values())
        assert row.rank == 1 + better
    assert [row.mitigation.label for row in board.reference_rows] == ["none", "retrain"]


def test_unranked_rows_come_last_and_per_sample_rows_stand_apart() -> None:
    cells = [
        *CELLS,
        *(cell("broken", a) for a in ("none", "dori")),
        *(cell("each", a, scope="per_sample") for a in ("none", "dori")),
        cell("half", "none"),
    ]
    records = [*RECORDS, *utility("broken", 0.12), *utility("each", 0.3), *utility("half", 0.3)]
    for label in ("broken", "each"):
        records += replication(label, "none", {0: []})
        records += replication(label, "dori", {100: [], 400: []})
    records += replication("half", "none", {0: []})
    board = leaderboard(rank(RUN, cells, records))
    assert [(row.mitigation.label, row.rank) for row in board.rows] == [
        ("hide", 1),
        ("broken", None),
        ("half", None),
    ]
    assert board.rows[1].reason_not_ranked == "utility 0.10 is below 0.8"
    assert board.rows[2].reason_not_ranked == "not attacked by dori"
    assert [(row.mitigation.label, row.rank) for row in board.per_sample_rows] == [("each", 1)]


def test_only_required_attacks_decide() -> None:
    ranked = rank(replace(RUN, required_attacks=("none",)), CELLS, RECORDS)
    board = leaderboard(ranked)
    (row,) = board.rows
    assert board.required_attacks == ("none",)
    assert row.worst_attack == "none" and len(row.cells) == 2
    assert leaderboard(ranked, ["none"]) == board
    with pytest.raises(DoribError, match="required_attacks dori are not those"):
        leaderboard(ranked, ["dori"])


def test_a_required_attack_that_was_not_run_is_said() -> None:
    board = leaderboard(rank(replace(RUN, required_attacks=("none", "worse")), CELLS, RECORDS))
    assert board.rows[0].reason_not_ranked == "not attacked by worse"


def test_written_files_are_deterministic_and_read_back(tmp_path: Path) -> None:
    ranked = rank(RUN, [*CELLS, cell("hide:v=2", "none")], [*RECORDS, *utility("hide:v=2", 0.3)])
    first, second = (write_leaderboard(tmp_path / d, ranked) for d in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert first.read_text().endswith("}\n")
    board = json.loads(first.read_text())
    linked = [c["entry"] for row in board["rows"] for c in row["cells"]]
    assert len(set(linked)) == 3
    assert all((tmp_path / "a" / link).is_file() for link in linked)
    for entry in ranked:
        assert read_entry(tmp_path / "a" / entry_file(entry)) == entry
    assert not [path for path in tmp_path.rglob(".*")]


def test_entries_that_cannot_be_compared_are_refused() -> None:
    ranked = rank(RUN, CELLS, RECORDS)
    with pytest.raises(DoribError, match="no entries"):
        leaderboard([])
    with pytest.raises(DoribError, match="stands twice"):
        leaderboard([*ranked, ranked[0]])
    with pytest.raises(DoribError, match="another split"):
        leaderboard([*ranked[1:], ranked[0].model_copy(update={"split": "dev"})])
    with pytest.raises(DoribError, match="the unmitigated model under none is not"):
        leaderboard(ranked[1:])


def test_a_file_that_is_no_entry_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "entry.json"
    path.write_text('{"schema_version": 1}')
    with pytest.raises(DoribError, match="no entry") as caught:
        read_entry(path)
    assert "\n" not in str(caught.value)
