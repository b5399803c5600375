"""Whose a suite's pictures are: read, shown with them, and what may not be published left out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dorib.cli.app import BAD_INPUT, main
from dorib.host.registry import discover
from dorib.report.gallery import GALLERY_FILE, Gallery
from dorib.report.site.boards import read_board
from dorib.report.site.pictures import read_pictures
from dorib.suites.attribution import ATTRIBUTION_FILE, Attribution, attributions
from dorib.suites.suite import Suite, load_suite
from dorib_suites.tiny.attribution import write_attribution
from fixtures.site import WHOSE, pictured_board
from fixtures.suites import write_rows
from test_site import Page, change, write

Printed = pytest.CaptureFixture[str]
SAMPLE = "test-memorized-0"
ROW = {"id": SAMPLE, "title": "Fox", "author": "A. B.", "licence": "CC-BY-4.0"}
SCRIPT = "<script>alert(1)</script>"


def dorib(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    return int(ended.value.code or 0)


def test_the_file_says_more_than_the_table_and_changes_no_digest(suite_copy: Path) -> None:
    before = Suite.load(suite_copy).digest()
    table = attributions(Suite.load(suite_copy))
    assert table[SAMPLE] == Attribution(licence="CC0-1.0")
    write_rows(suite_copy / ATTRIBUTION_FILE, [ROW])
    suite = Suite.load(suite_copy)
    found = attributions(suite)
    assert found[SAMPLE].author == "A. B."
    assert {sample: of for sample, of in found.items() if sample != SAMPLE} == {
        sample: of for sample, of in table.items() if sample != SAMPLE
    }
    assert suite.digest() == before


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([ROW | {"id": "nobody"}], "row 1: id nobody is no sample"),
        ([ROW, ROW], f"row 2: id {SAMPLE} stands twice"),
        ([ROW | {"artist": "A"}], "row 1: 'artist'"),
        ([ROW | {"page": "javascript:alert(1)"}], "row 1: 'page'"),
        ([ROW | {"author": "two\nlines"}], "row 1: 'author'"),
    ],
)
def test_a_wrong_line_ends_a_run_before_any_work(
    rows: list[dict[str, Any]], said: str, suite_copy: Path, tmp_path: Path, capsys: Printed
) -> None:
    write_rows(suite_copy / ATTRIBUTION_FILE, rows)
    out = tmp_path / "out"
    assert dorib("run", "--suite", suite_copy, "--out", out, "-m", "wanda") == BAD_INPUT
    error = capsys.readouterr().err
    assert f"{ATTRIBUTION_FILE}, {said}" in error and error.count("\n") == 1
    assert not (out / "leaderboard.json").exists()


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ({"licence": "CC0-1.0"}, None),
        ({"licence": "LicenseRef-PublicDomain"}, None),
        ({"licence": "CC-BY-SA-3.0", "author": "A. B."}, None),
        ({"licence": "GPL-2.0-or-later", "source": "a package"}, None),
        ({"licence": "CC-BY-4.0"}, "CC-BY-4.0 asks whose it is"),
        ({"licence": "CC-BY-NC-4.0", "author": "A. B."}, "no licence that is known to allow"),
        ({"licence": "CC-BY-ND-4.0", "author": "A. B."}, "no licence that is known to allow"),
        ({"licence": "all rights reserved", "author": "A. B."}, "no licence that is known to"),
        ({"author": "A. B."}, "no licence is stated"),
    ],
)
def test_what_a_licence_allows(of: dict[str, str], said: str | None) -> None:
    reason = Attribution(**of).reason_withheld
    assert reason is None if said is None else reason is not None and said in reason


def test_the_embedded_suite_credits_each_of_its_pictures(tmp_path: Path) -> None:
    suite = load_suite("tiny", discover())
    found = attributions(suite)
    for sample in suite.samples:
        of = found[sample.id]
        assert of.title and of.author and of.source and of.licence == sample.licence
        assert of.reason_withheld is None
    shutil.copy(suite.root / "samples.jsonl", tmp_path)
    write_attribution(tmp_path)
    written, shipped = (root / ATTRIBUTION_FILE for root in (tmp_path, suite.root))
    assert written.read_bytes() == shipped.read_bytes()


def test_a_page_shows_the_credit_with_each_picture_and_all_in_a_list(tmp_path: Path) -> None:
    pictured_board(tmp_path)
    change(tmp_path / GALLERY_FILE, lambda g: g["samples"][0]["attribution"].update(title=SCRIPT))
    assert write(tmp_path) == 0
    board, own = Page(tmp_path / "index.html"), Page(tmp_path / "samples" / "m0.html")
    samples = len(Gallery.model_validate_json((tmp_path / GALLERY_FILE).read_text()).samples)
    assert board.text.count("A. Painter") == 2 * samples
    assert board.text.count(SCRIPT) == 2 and own.text.count(SCRIPT) == 1
    assert board.tags["script"] == own.tags["script"] == 1
    for page in (board, own):
        assert "https://spdx.org/licenses/CC-BY-4.0.html" in page.targets
        assert WHOSE.page in page.targets
        assert "a box of paint" in page.text


@pytest.fixture
def half_free(tmp_path: Path) -> Path:
    """A board of which the first sample's picture has no licence."""
    folder = tmp_path / "board"
    pictured_board(folder)
    change(folder / GALLERY_FILE, lambda g: g["samples"][0].pop("attribution"))
    return folder


def test_a_board_is_published_without_what_no_licence_allows(
    half_free: Path, tmp_path: Path, capsys: Printed
) -> None:
    to = tmp_path / "published"
    assert dorib("export", half_free, "--board", "--to", to) == 0
    assert "m0: its pictures are left out; no licence is stated" in capsys.readouterr().err
    assert not (to / "gallery" / "m0").exists()
    assert (to / "gallery" / "m1" / "shown.webp").is_file()
    assert write(to) == 0
    own = Page(to / "samples" / "m0.html")
    assert own.tags["img"] == 0
    assert "Its pictures are not published: no licence is stated." in own.text
    assert Page(to / "samples" / "m1.html").tags["img"] > 1
    # Its numbers are there still: the gallery is held against the entries.
    entries = read_board(to, discover()).entries
    pictures = read_pictures(to, entries)
    assert pictures and pictures.replicating("m0", "none", "none")


def test_a_data_set_leaves_it_out_and_says_so(half_free: Path, tmp_path: Path) -> None:
    to = tmp_path / "dataset"
    assert dorib("export", half_free, "--hf", "--to", to) == 0
    table = pd.read_parquet(to / "pictures.parquet")
    assert "m0" not in set(table["sample"]) and "m1" in set(table["sample"])
    assert set(table["author"]) == {"A. Painter"} and set(table["page"]) == {WHOSE.page}
    assert "m0 (no licence is stated)" in (to / "README.md").read_text()


def test_a_run_s_board_is_published_with_witnesses_and_credits(
    small_board: Path, tiny_suite_folder: Path, tmp_path: Path
) -> None:
    to = tmp_path / "published"
    assert dorib("export", small_board, "--board", "--to", to, "--suite", tiny_suite_folder) == 0
    assert sorted(path.name for path in to.iterdir()) == [
        "entries", "gallery", "leaderboard.json", "witnesses"
    ]  # fmt: skip
    gallery = json.loads((to / GALLERY_FILE).read_text())
    assert {s["attribution"]["licence"] for s in gallery["samples"]} == {"CC0-1.0"}
    assert all((to / s["original"]).is_file() for s in gallery["samples"])


def test_it_is_published_alone_and_into_a_folder_of_its_own(
    half_free: Path, capsys: Printed
) -> None:
    assert dorib("export", half_free, "--board", "--csv") == BAD_INPUT
    assert "--board: is a folder of its own; leave --csv out" in capsys.readouterr().err
    assert dorib("export", half_free, "--board", "--to", half_free) == BAD_INPUT
    assert "is there already" in capsys.readouterr().err
