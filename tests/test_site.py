"""The web pages: made from the entries, whole, escaped; broken folders are refused."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from dorib.cli.app import BAD_INPUT, main
from dorib.config import make_config
from dorib.host.registry import discover
from dorib.ranking.entries import read_entry
from dorib.ranking.leaderboard import Leaderboard, write_leaderboard
from dorib.runner import run
from dorib_locality.locality_config import LocalityConfig
from dorib_locality.study import study

PUBLISHED = Path(__file__).parents[1] / "leaderboards"
MADE = ("index.html", "tiny/index.html", "tiny/leaderboard.csv", "tiny/leaderboard.tex")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A copy of the published leaderboards without their pages and what only `verify` reads."""
    made_anew = "samples", "mitigations"
    left_out = shutil.ignore_patterns("witnesses", "large-witnesses", "gallery", *made_anew)
    copy = Path(shutil.copytree(PUBLISHED, tmp_path / "leaderboards", ignore=left_out))
    gallery = PUBLISHED / "tiny" / "gallery"
    (copy / "tiny" / "gallery").mkdir()
    shutil.copy(gallery / "gallery.json", copy / "tiny" / "gallery")
    # Thousands of pictures, which no test changes.
    for folder in (path for path in gallery.iterdir() if path.is_dir()):
        (copy / "tiny" / "gallery" / folder.name).symlink_to(folder)
    for made in MADE:
        (copy / made).unlink()
    return copy


class Page(HTMLParser):
    """What a reader gets: the text, and what the page asks the browser for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = ""
        self.tags: Counter[str] = Counter()
        self.targets: list[str] = []
        self.anchors: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.targets += [v for name, v in attributes if name in ("href", "src") and v is not None]
        self.anchors += [v for name, v in attributes if name == "id" and v is not None]

    def handle_data(self, data: str) -> None:
        self.text += data


def write(*folder: Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["site", *map(str, folder)])
    return int(ended.value.code or 0)


def change(path: Path, edit: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_the_published_pages_are_those_of_the_entries(published: Path) -> None:
    assert write(published) == 0
    pages = (path.relative_to(PUBLISHED) for path in PUBLISHED.rglob("*.html"))
    of_the_site = [page for page in pages if "locality" not in page.parts]
    assert len(of_the_site) > 50
    for page in [*MADE, *of_the_site]:
        assert (published / page).read_text() == (PUBLISHED / page).read_text(), (
            "run `dorib site leaderboards` and commit what it writes"
        )


@pytest.mark.parametrize("name", ["tiny", "tiny-4.1"])
def test_a_page_shows_every_row_and_leads_to_every_entry(name: str, published: Path) -> None:
    assert write(published / name) == 0
    page = Page(published / name / "index.html")
    board = Leaderboard.model_validate_json((published / name / "leaderboard.json").read_text())
    for row in (*board.rows, *board.per_sample_rows, *board.reference_rows):
        assert row.mitigation.label in page.text
        stem = row.cells[0].entry.removeprefix("entries/").partition(".")[0]
        own = published / name / "mitigations" / f"{stem}.html"
        pictured = Page(own).targets if own.is_file() else []
        for cell in row.cells:
            assert cell.entry in page.targets or f"../{cell.entry}" in pictured
            assert cell.memorization_rate is not None
            assert f"{cell.memorization_rate.low:.2f} to" in page.text
        if row.rank is None and row not in board.reference_rows:
            assert row.reason_not_ranked and row.reason_not_ranked in page.text
    if (published / name / "locality").is_dir():
        assert "locality/dori-0a7a9c41/index.html" in page.targets
        assert "as dori:start=random finds them" in " ".join(page.text.split())


def test_every_link_of_every_page_leads_somewhere(published: Path) -> None:
    assert write(published) == 0
    for path in published.rglob("index.html"):
        anchors = Page(path).anchors
        assert len(set(anchors)) == len(anchors)
        for target in Page(path).targets:
            if target.startswith("https://"):
                # A method's paper or code: no host is asked here.
                continue
            file, _, anchor = target.partition("#")
            assert not file or (path.parent / file).is_file(), f"{path}: {target}"
            if anchor:
                there = Page(path.parent / file).anchors if file else anchors
                assert anchor in there, f"{path}: {target}"


def test_a_run_s_page_leads_to_its_locality_studies(
    tiny_suite_folder: Path, tmp_path: Path
) -> None:
    options = {
        **{"suite": str(tiny_suite_folder), "out": str(tmp_path), "metric": ["sscd"]},
        **{"limit": 2, "seeds": 1, "budgets": [24]},
    }
    run(make_config({**options, "attack": ["dori:start=random"]}), discover())
    for attack in ("dori:start=random", "dori"):
        study(LocalityConfig.model_validate({**options, "attack": attack, "starts": 2}))
    assert write(tmp_path) == 0
    page = Page(tmp_path / "index.html")
    studies = [target for target in page.targets if target.startswith("locality/")]
    assert len(studies) == 2
    for target in studies:
        assert "<title>Locality: random, dori" in (tmp_path / target).read_text()
    # The one by its label in the run; the other, which was not run, by its folder.
    assert "as dori:start=random finds them" in " ".join(page.text.split())
    assert "as dori finds them" in " ".join(page.text.split())


def test_text_from_outside_is_shown_and_not_run(published: Path) -> None:
    folder = published / "tiny"
    board = Leaderboard.model_validate_json((folder / "leaderboard.json").read_text())
    script = "<script>alert('wanda')</script>"
    label = f"wanda:scores={script},sparsity=0.1"
    entries = []
    for path in (folder / "entries").glob("*.json"):
        entry = read_entry(path)
        if entry.mitigation.label == "wanda:sparsity=0.1":
            params = {**entry.mitigation.params, "scores": script}
            method = entry.mitigation.model_copy(update={"label": label, "params": params})
            entry = entry.model_copy(update={"mitigation": method})
        entries.append(entry)
    write_leaderboard(folder, entries, board.required_attacks)
    gallery = folder / "gallery" / "gallery.json"
    named = gallery.read_text().replace(json.dumps("wanda:sparsity=0.1"), json.dumps(label))
    gallery.write_text(named)
    assert write(published) == 0
    page = Page(folder / "index.html")
    # The page's own, and no other.
    assert page.tags["script"] == 1
    assert label in page.text.partition("const NUMBERS")[0]
    assert "<script>alert" not in (folder / "index.html").read_text()


def better(board: Any) -> None:
    board["rows"][1]["worst_gap"]["value"] = board["rows"][1]["worst_gap"]["low"]


def elsewhere(board: Any) -> None:
    board["rows"][0]["cells"][0]["entry"] = "entries/../../../secret.json"


def without_rows(board: Any) -> None:
    del board["rows"]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            better,
            r"leaderboard.json: rows.1.worst_gap.value does not follow from the entries it names",
        ),
        (elsewhere, r"leaderboard.json: entry '.*secret.json' is no file in `entries`; run again"),
        (without_rows, r"leaderboard.json: no leaderboard \('rows': is missing\); run again"),
    ],
)
def test_a_leaderboard_that_was_tampered_with_is_refused(
    published: Path, capsys: pytest.CaptureFixture[str], edit: Callable[[Any], None], said: str
) -> None:
    change(published / "tiny" / "leaderboard.json", edit)
    assert write(published) == BAD_INPUT
    error = capsys.readouterr().err
    assert re.search(said, error)
    assert error.count("\n") == 1
    assert not list(published.glob("**/tiny/index.html")) + list(published.glob("index.html"))


def test_a_folder_whose_name_is_no_text(published: Path) -> None:
    other = Path(os.fsdecode(os.fsencode(published) + b"/other-\xff"))
    try:
        shutil.copytree(published / "tiny", other)
    except OSError:
        pytest.skip("this file system takes names that are text alone")
    assert write(published) == 0
    assert 'href="other-%FF/index.html"' in (published / "index.html").read_text()


def test_a_missing_entry_is_named(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (published / "tiny" / "entries" / "none.dori.json").unlink()
    assert write(published) == BAD_INPUT
    assert "none.dori.json: cannot be read" in capsys.readouterr().err


def test_a_folder_without_leaderboards_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert write(tmp_path) == BAD_INPUT
    assert re.search(
        r"no leaderboard.json in it .* `dorib run --out` wrote", capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())
