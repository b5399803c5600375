"""Stores, entries and witnesses from somebody else: no word in them leads out of its folder."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dorib.cli.app import BAD_INPUT, main
from dorib.errors import DoribError
from dorib.report.board.kept import KeptBoard, KeptCell
from dorib.store.packs import read_table

Content = dict[str, Any]


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit:
        main([*map(str, arguments)])
    assert isinstance(exit.value.code, int)
    return exit.value.code


def board_of(out: Path) -> Path:
    [path] = (out / "store" / "boards").glob("*/board.json")
    return path


def changed(path: Path, change: Callable[[Content], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def copied(small_board: Path, tmp_path: Path) -> Path:
    """A folder with the run's store alone."""
    shutil.copytree(small_board / "store", tmp_path / "copied" / "store")
    return tmp_path / "copied"


def test_a_store_alone_gives_the_board(copied: Path) -> None:
    assert call("report", copied) == 0
    assert (copied / "leaderboard.json").is_file()


BOARDS: dict[str, Callable[[Content], object]] = {
    "no run": lambda board: board.update(run={}),
    "no images": lambda board: board["run"].update(k=0),
    "many images": lambda board: board["run"].update(k=10**12),
    "falling budgets": lambda board: board["run"].update(budgets=[24, 12]),
    "no samples": lambda board: board["run"].update(memorized=[]),
    "another oracle": lambda board: board["run"].update(oracle="nope"),
    "a slug with a NUL": lambda board: board["cells"][0].update(slug="a\0b"),
    "a slug that leads elsewhere": lambda board: board["cells"][0].update(slug="../a"),
}


@pytest.mark.parametrize("change", BOARDS.values(), ids=BOARDS)
def test_a_changed_board_is_said_to_be_damaged(
    copied: Path, change: Callable[[Content], object], capsys: pytest.CaptureFixture[str]
) -> None:
    changed(board_of(copied), change)
    assert call("report", copied) == BAD_INPUT
    assert "board.json: damaged" in capsys.readouterr().err
    assert not (copied / "leaderboard.json").exists()
    assert call("store", "verify", copied) == 1
    assert "board.json" in capsys.readouterr().out


@pytest.mark.parametrize("absolute", [True, False])
def test_no_sample_of_a_forged_board_is_a_path(
    copied: Path, tmp_path: Path, absolute: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    name = str(tmp_path / "escaped") if absolute else "../../../../escaped"
    board = board_of(copied)
    changed(board, lambda b: b["run"]["memorized"].append({"id": name, "cluster": "x"}))
    original = next(board.parent.glob("original.*.png"))
    planted = board.parent / f"original.{name}.png"
    planted.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(original, planted)
    # Whoever forges a board names its folder as it must be called.
    forged = KeptBoard.model_validate_json(board.read_bytes())
    board.parent.rename(board.parent.with_name(forged.name))
    before = {path for path in tmp_path.rglob("*") if copied not in path.parents}
    assert call("report", copied) == BAD_INPUT
    assert "damaged" in capsys.readouterr().err
    assert {path for path in tmp_path.rglob("*") if copied not in path.parents} == before


def test_a_picture_that_lies_elsewhere_is_not_drawn(copied: Path, tmp_path: Path) -> None:
    cell = json.loads(next(board_of(copied).parent.glob("cell.*.json")).read_text())
    for place in ("/etc/motd.png", "images/../../secret.png", "../secret.png", ""):
        cell["pictures"] = {"sun": place}
        with pytest.raises(ValueError, match="pictures"):
            KeptCell.model_validate(cell)
    cell["pictures"] = {}
    cell["facts"]["attack"]["name"] = cell["facts"]["attack"]["label"] = "../a"
    with pytest.raises(ValueError, match="none that a file can have"):
        KeptCell.model_validate(cell)


@pytest.mark.parametrize("link", ["probes", "odd", "probes/00"])
def test_nothing_behind_a_link_is_pruned(
    small_board: Path, tmp_path: Path, link: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(small_board, tmp_path / "out"))
    mine = tmp_path / "mine" / "letters" / "a.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("dear")
    for path in (mine, mine.parent, mine.parent.parent):
        os.utime(path, (0, 0))
    place = out / "store" / link
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(mine.parent.parent)
    assert call("store", "prune", out, "--yes") == 0
    assert mine.read_text() == "dear"
    assert place.is_symlink()


def test_a_folder_of_no_kind_is_left_alone(small_board: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(small_board, tmp_path / "out"))
    mine = out / "store" / "notes" / "mine"
    mine.mkdir(parents=True)
    os.utime(mine, (0, 0))
    assert call("store", "prune", out, "--yes") == 0
    assert mine.is_dir()


def test_tensors_of_an_impossible_shape_are_said_to_be_damaged(tmp_path: Path) -> None:
    header = json.dumps(
        {"x": {"dtype": "F64", "shape": [0, 2**64 - 1], "data_offsets": [0, 0]}}
    ).encode()
    path = tmp_path / "values.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(DoribError, match=r"no readable safetensors .*; restore") as raised:
        read_table(path)
    assert len(str(raised.value)) < len(str(path)) + 250


@pytest.fixture
def entry(small_board: Path, tmp_path: Path) -> Path:
    [path] = small_board.glob("entries/wanda-*.dori.json")
    return Path(shutil.copy(path, tmp_path / "entry.json"))


def test_a_suite_that_an_entry_names_is_no_folder(
    entry: Path,
    tiny_suite_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tiny_suite_folder.parent)
    for name in (str(tiny_suite_folder), tiny_suite_folder.name):
        changed(entry, lambda e, name=name: e["suite"].update(name=name))  # type: ignore[misc]
        assert call("reproduce", entry, "--write-only", "--out", tmp_path / "again") == BAD_INPUT
        assert "give its folder by --suite" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_a_number_that_stands_twice_is_refused(
    small_board: Path, entry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry.write_text(entry.read_text().replace("{", '{"split": "dev", ', 1))
    assert call("compare", entry, small_board) == BAD_INPUT
    assert "split" in capsys.readouterr().err


@pytest.mark.parametrize("hub", ["../..", "x y", "owner", "owner/", "a/b/c"])
def test_a_repository_that_cannot_be_is_refused(
    small_board: Path, tmp_path: Path, hub: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(small_board, tmp_path / "out"))
    assert call("report", out, "--witnesses", "--hub", hub) == BAD_INPUT
    assert "owner/name" in capsys.readouterr().err
