"""A board as CSV, LaTeX, Parquet and a folder for `datasets`: read back, they are the board."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from dorib import open as open_results
from dorib.cli.app import BAD_INPUT, main
from dorib.ranking.records import write_records
from dorib.report.gallery import GALLERY_FILE, Gallery
from fixtures.scored import RECORDS_TWICE
from fixtures.site import pictured_board

Printed = pytest.CaptureFixture[str]


def export(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exit:
        main(["export", *map(str, arguments)])
    assert isinstance(exit.value.code, int)
    return exit.value.code


def load(folder: Path, name: str, cache: Path) -> Any:
    from datasets import load_dataset

    return load_dataset(str(folder), name, split="train", cache_dir=str(cache))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    pictured_board(tmp_path / "board")
    return tmp_path / "board"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_tables_are_those_of_the_page(published: Path) -> None:
    to = published.parent / "tables"
    assert export(published, "--csv", "--latex", "--to", to) == 0
    with pytest.raises(SystemExit):
        main(["site", str(published)])
    assert sorted(path.name for path in to.iterdir()) == ["leaderboard.csv", "leaderboard.tex"]
    for path in to.iterdir():
        assert path.read_bytes() == (published / path.name).read_bytes()


def test_parquet_holds_what_csv_and_records_hold_with_types(published: Path) -> None:
    write_records(published / "records.jsonl", RECORDS_TWICE)
    assert export(published, "--csv", "--parquet") == 0
    folder = published / "exports" / "tables"
    table = pd.read_parquet(folder / "leaderboard.parquet")
    text = pd.read_csv(io.StringIO((folder / "leaderboard.csv").read_text()))
    assert list(table.columns) == list(text.columns)
    assert table["mitigation"].tolist() == text["mitigation"].tolist()
    for column in ("memorized", "gap_low", "utility", "rank"):
        np.testing.assert_array_equal(table[column].astype(float), text[column].astype(float))
    assert table["required"].tolist() == text["required"].tolist()
    records = pd.read_parquet(folder / "records.parquet")
    expected = open_results(published).to_pandas()
    assert len(records) == len(expected) > 0
    assert records["value"].tolist() == expected["value"].tolist()
    assert records["sample"].tolist() == expected["sample"].tolist()


@pytest.mark.usefixtures("offline")
def test_a_run_s_data_set_is_loaded_with_its_pictures(
    small_board: Path, tiny_suite_folder: Path, tmp_path: Path
) -> None:
    to, cache = tmp_path / "dataset", tmp_path / "cache"
    assert export(small_board, "--hf", "--to", to, "--suite", tiny_suite_folder) == 0
    pictures = load(to, "pictures", cache)
    gallery = Gallery.model_validate_json((small_board / GALLERY_FILE).read_text())
    stated = {(p.sample, p.mitigation, p.attack): p for p in gallery.pictures if p.picture}
    assert len(pictures) == len(stated) > 0
    for line in pictures:
        own = stated[line["sample"], line["mitigation"], line["attack"]]
        assert (line["likeness"], line["number"]) == (own.likeness, own.number)
        assert own.picture is not None
        with Image.open(small_board / own.picture) as picture:
            assert line["picture"].tobytes() == picture.tobytes()
    assert {line["role"] for line in pictures} == {"memorized", "control"}
    broken = {(p.sample, p.mitigation, p.attack) for p in gallery.pictures if any(p.copies)}
    lines = [line for line in pictures if line["broken_at"] is not None]
    assert {(line["sample"], line["mitigation"], line["attack"]) for line in lines} == broken
    records = load(to, "records", cache)
    expected = open_results(small_board).to_pandas()
    assert len(records) == len(expected)
    assert records["metric"] == expected["metric"].tolist()
    assert len(load(to, "leaderboard", cache)) == len(open_results(small_board).entries)


@pytest.mark.usefixtures("offline")
def test_without_a_name_the_pictures_are_loaded(published: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    to = tmp_path / "dataset"
    assert export(published, "--hf", "--to", to) == 0
    found = load_dataset(str(to), cache_dir=str(tmp_path / "cache"))
    assert list(found) == ["train"]
    assert "picture" in found["train"].column_names
    assert not (to / "records.parquet").exists()


def test_the_card_states_licence_citation_and_what_there_is(published: Path) -> None:
    to = published.parent / "dataset"
    assert export(published, "--hf", "--to", to) == 0
    card = (to / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    content = yaml.safe_load(front)
    assert content["license"] == "other"
    names = {one["config_name"]: one["data_files"] for one in content["configs"]}
    assert names == {"pictures": "pictures.parquet", "leaderboard": "leaderboard.parquet"}
    assert [one["config_name"] for one in content["configs"] if one["default"]] == ["pictures"]
    assert "## Licence" in text and "MIT licence" in text
    assert "@misc{dorib-toy," in text


def test_the_licences_of_the_suite_s_originals_come_along(
    small_board: Path, suite_copy: Path, tmp_path: Path, capsys: Printed
) -> None:
    to = tmp_path / "dataset"
    assert export(small_board, "--hf", "--to", to, "--suite", suite_copy) == 0
    table = pd.read_parquet(to / "pictures.parquet", columns=["sample", "licence", "source"])
    rows = [line for line in (suite_copy / "samples.jsonl").read_text().splitlines() if line]
    stated = pd.read_json(io.StringIO("\n".join(rows)), lines=True).set_index("id")
    for line in table.itertuples():
        expected = stated["licence"].get(line.sample, "") if "licence" in stated else ""
        assert line.licence == expected
    capsys.readouterr()
    (suite_copy / "samples.jsonl").write_text("\n".join(rows[:-1]) + "\n")
    assert export(small_board, "--hf", "--to", tmp_path / "b", "--suite", suite_copy) == BAD_INPUT
    assert "is not the one of" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "nothing is asked for; give --mitigation for its edit"),
        (("--csv", "-m", "hide"), "--mitigation: is of an edit or of triggers, and --csv of the"),
        (("--hf", "-a", "dori"), "--attack: is of an edit or of triggers, and --hf of the whole"),
        (("--latex", "--form", "lora"), "--form: is of an edit or of triggers, and --latex of"),
        (("--csv", "--to", "."), "is there already; name another folder by --to"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_line(
    published: Path, capsys: Printed, arguments: tuple[str, ...], reason: str
) -> None:
    assert export(published, *arguments) == BAD_INPUT
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_without_pyarrow_the_line_says_what_to_install(
    published: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert export(published, "--parquet") == BAD_INPUT
    assert 'pip install "dorib[datasets]"' in capsys.readouterr().err
    assert not (published / "exports").exists()
