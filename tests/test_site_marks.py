"""What is known of rows' claims, on their pages: by whom verified, unverified, or failed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from dorib.cli.app import BAD_INPUT
from dorib.ranking.entries import Entry
from dorib.report.site.marks import MARKS_FILE, Mark, Marks, claimed, measured, write_marks
from fixtures.site import large_board, pictured_board
from test_site import Page, write

SCRIPT = "<script>alert(1)</script>"


def text_of(path: Path) -> str:
    return " ".join(Page(path).text.partition("const NUMBERS")[0].split())


def cells(entries: list[Entry]) -> dict[str, Entry]:
    return {e.attack.label: e for e in entries if e.mitigation.name == "hide"}


def test_a_row_is_unverified_until_somebody_verifies_it(tmp_path: Path) -> None:
    entries = pictured_board(tmp_path)
    assert write(tmp_path) == 0
    assert "Claims: 1 unverified." in text_of(tmp_path / "index.html")
    mark = Mark(state="verified", by=f"B. Reader {SCRIPT}", digest=measured(cells(entries)))
    write_marks(tmp_path, {"hide": mark})
    assert write(tmp_path) == 0
    page = Page(tmp_path / "index.html")
    assert "Claims: 1 verified." in text_of(tmp_path / "index.html")
    assert f"verified by B. Reader {SCRIPT}" in page.text and page.tags["script"] == 1
    lines = list(csv.DictReader((tmp_path / "leaderboard.csv").read_text().splitlines()))
    claims = {line["mitigation"]: (line["claim"], line["verified_by"]) for line in lines}
    assert claims["hide"] == ("verified", mark.by) and claims["none"] == ("", "")


def test_a_mark_is_none_of_a_row_that_was_measured_again(tmp_path: Path) -> None:
    pictured_board(tmp_path)
    write_marks(tmp_path, {"hide": Mark(state="verified", by="B. Reader", digest="0" * 64)})
    assert write(tmp_path) == 0
    text = text_of(tmp_path / "index.html")
    assert "Claims: 1 unverified." in text and "B. Reader" not in text


def test_a_mark_outlives_an_attack_that_the_row_is_not_ranked_by(tmp_path: Path) -> None:
    of_row = cells(pictured_board(tmp_path))
    _, *others = of_row
    ranked_by = tuple(others)
    ranked = {a: e.model_copy(update={"required_attacks": ranked_by}) for a, e in of_row.items()}
    marks = Marks(rows={"hide": Mark(state="verified", digest=claimed(ranked))})
    without = {attack: ranked[attack] for attack in others}
    assert marks.of("hide", without).state == "verified"
    assert marks.of("hide", ranked).state == "verified"
    again = ranked[others[0]].digests.model_copy(update={"images": "0" * 64})
    other = {**ranked, others[0]: ranked[others[0]].model_copy(update={"digests": again})}
    assert marks.of("hide", other).state == "unverified"


def test_a_claim_that_failed_stands_with_its_reason_and_is_not_first(tmp_path: Path) -> None:
    large_board(tmp_path / "large", 3)
    assert write(tmp_path) == 0
    first = "Hide and seek (v=1)"
    assert first in text_of(tmp_path / "index.html")
    write_marks(tmp_path / "large", {"hide:v=1": Mark(state="failed", reason="its rate is not so")})
    write_marks(tmp_path / "large", {"hide:v=2": Mark(state="verified", by="B. Reader")})
    assert write(tmp_path) == 0
    index, board = text_of(tmp_path / "index.html"), text_of(tmp_path / "large" / "index.html")
    assert "1 verified 1 unverified 1 failed" in index
    assert first not in index and "verified by B. Reader" in index
    assert first in board and "failed: its rate is not so" in board


def test_damaged_marks_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictured_board(tmp_path)
    (tmp_path / MARKS_FILE).write_text('{"rows": {"hide": {"state": "perfect"}}}')
    assert write(tmp_path) == BAD_INPUT
    error = capsys.readouterr().err
    assert f"{MARKS_FILE}: holds no marks" in error and error.count("\n") == 1
    assert not (tmp_path / "index.html").exists()
