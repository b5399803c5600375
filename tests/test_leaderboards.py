"""The published leaderboards: files of this version that belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from dorib.config import read_config
from dorib.host.configure import configure_all
from dorib.host.registry import discover
from dorib.ranking.entries import read_entry
from dorib.ranking.leaderboard import Leaderboard, leaderboard
from dorib.report.site.boards import read_board
from dorib.report.site.history import read_history
from dorib.report.site.marks import measured, read_marks
from dorib.report.site.rows import board_rows
from dorib.suites.suite import load_suite

PUBLISHED = Path(__file__).parents[1] / "leaderboards"


@pytest.mark.parametrize(
    "name", sorted(path.parent.name for path in PUBLISHED.glob("*/leaderboard.json"))
)
def test_a_published_leaderboard_is_that_of_its_entries(name: str) -> None:
    folder = PUBLISHED / name
    board = Leaderboard.model_validate_json((folder / "leaderboard.json").read_text())
    rows = (*board.reference_rows, *board.rows, *board.per_sample_rows)
    named = [cell.entry for row in rows for cell in row.cells]
    assert sorted(named) == sorted(
        f"entries/{path.name}" for path in (folder / "entries").iterdir()
    )
    entries = [read_entry(folder / entry) for entry in named]
    again = leaderboard(entries, board.required_attacks)
    # As models: a file of an older version lacks the names that came later.
    assert again == board


def test_the_embedded_suite_s_has_every_required_attack_and_no_errors() -> None:
    suite = load_suite("tiny", discover())
    board = Leaderboard.model_validate_json((PUBLISHED / "tiny" / "leaderboard.json").read_text())
    assert board.required_attacks == suite.manifest.required_attacks
    assert board.suite.version == suite.manifest.version
    assert board.suite.digest == suite.digest()
    for row in (*board.reference_rows, *board.rows, *board.per_sample_rows):
        assert {cell.attack for cell in row.cells} >= set(board.required_attacks)
        assert row.errors == 0


def test_the_run_file_beside_it_asks_for_its_rows() -> None:
    registry = discover()
    config = read_config(PUBLISHED / "tiny" / "run.yaml", {})
    asked = configure_all(registry, "mitigation", config.mitigation, first=["none", "retrain"])
    board = Leaderboard.model_validate_json((PUBLISHED / "tiny" / "leaderboard.json").read_text())
    rows = (*board.reference_rows, *board.rows, *board.per_sample_rows)
    assert {row.mitigation.label for row in rows} == {method.label for method in asked}
    assert board.k == config.seeds


def test_its_history_tells_of_every_row_as_it_is() -> None:
    """Otherwise: `dorib site leaderboards/tiny --by NAME`."""
    folder = PUBLISHED / "tiny"
    board = read_board(folder, discover())
    last = {change.row: change for change in read_history(folder)}
    for row in board_rows(board.leaderboard, board.entries, read_marks(folder)):
        assert last[row.method.label].digest == measured(row.cells)
        assert last[row.method.label].change != "withdrawn"
