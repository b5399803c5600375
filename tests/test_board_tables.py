"""The tables of docs/reproduction.md: those of the published board."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

import dorib
from board_tables.__main__ import BOARD, PAGE, ROWS, main
from board_tables.tables import further_table, untold, with_tables

TITLES = yaml.safe_load(ROWS.read_text())


def test_the_page_has_the_tables_of_the_board(tmp_path: Path) -> None:
    """Otherwise: `python -m board_tables` in `benchmarks`."""
    page = tmp_path / "page.md"
    doctored, rows = re.subn(
        r"(?m)^\| prompt filter \|.*$", "| prompt filter | ? |", PAGE.read_text()
    )
    assert rows == 2
    page.write_text(doctored)
    assert main(["--page", str(page)]) == 0
    assert page.read_text() == PAGE.read_text()


def test_a_row_without_a_title_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(shutil.copy(PAGE, tmp_path))
    old = dorib.open(BOARD.parent / "tiny-4.1")
    label = next(untold(old, TITLES))
    assert main(["--page", str(page), "--board", str(old.folder)]) == 2
    assert f"has no title for {label}" in capsys.readouterr().err
    assert page.read_text() == PAGE.read_text()


def test_a_title_without_a_row_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(shutil.copy(PAGE, tmp_path))
    rows = tmp_path / "rows.yaml"
    rows.write_text(yaml.safe_dump({**TITLES, "gone": "wanda:sparsity=0.4"}))
    monkeypatch.setattr("board_tables.__main__.ROWS", rows)
    assert main(["--page", str(page)]) == 2
    assert "wanda:sparsity=0.4 is not on" in capsys.readouterr().err
    assert page.read_text() == PAGE.read_text()


def test_a_row_that_was_not_run_under_all_attacks_is_left_out() -> None:
    """Those of 4.1 were run under none of them."""
    board = dorib.open(BOARD.parent / "tiny-4.1")
    titles = {entry.mitigation.label: entry.mitigation.label for entry in board.entries}
    assert len(further_table(board, titles)) == 2


def test_a_page_without_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no table on the page begins with"):
        with_tables("# A page\n", ["| a | b |", "|---|---|"])
