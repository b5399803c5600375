"""A run's gallery on its pages: beside each picture what was measured, as entries have it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dorib.cli.app import BAD_INPUT, main
from dorib.config import make_config
from dorib.contracts.cards import MethodCard
from dorib.host.registry import discover
from dorib.ranking.records import read_records
from dorib.report.gallery import GALLERY_FILE, Gallery
from dorib.runner import run
from fixtures.site import pictured_board
from test_site import Page, change, write

JUDGED = "sscd_original"


@pytest.fixture(scope="module")
def left(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run on the random suite leaves, and its pages."""
    out = tmp_path_factory.mktemp("run")
    config = {"suite": str(tiny_suite_folder), "out": str(out), "metric": ["sscd"]}
    methods = {"mitigation": ["wanda:sparsity=0.1"], "attack": ["dori"]}
    run(make_config({**config, **methods, "seeds": 2, "budgets": [24, 48]}), discover())
    assert write(out) == 0
    return out


def gallery_of(folder: Path) -> Gallery:
    return Gallery.model_validate_json((folder / GALLERY_FILE).read_text())


def test_a_run_leaves_small_pictures_of_every_sample_in_every_cell(left: Path) -> None:
    gallery = gallery_of(left)
    roles = {sample.role for sample in gallery.samples}
    assert roles == {"memorized", "control"}
    assert len(gallery.pictures) == 3 * 2 * len(gallery.samples)
    for file in [s.original for s in gallery.samples] + [p.picture for p in gallery.pictures]:
        assert file is not None
        with Image.open(left / file) as picture:
            assert picture.format == "WEBP" and max(picture.size) <= 160


def test_the_picture_is_the_nearest_and_its_likeness_is_the_record_s(left: Path) -> None:
    likeness: dict[tuple[str, str | None, str | None], list[float]] = {}
    for record in read_records(left / "records.jsonl"):
        if record.metric == JUDGED and record.value is not None:
            place = record.mitigation, record.attack, record.sample
            likeness.setdefault(place, []).append(record.value)
    for shown in gallery_of(left).pictures:
        nearest = max(likeness[shown.mitigation, shown.attack, shown.sample])
        assert shown.likeness == nearest


def test_every_sample_has_a_page_that_leads_on_and_back(left: Path) -> None:
    board = Page(left / "index.html")
    ids = [sample.id for sample in gallery_of(left).samples]
    for number, sample in enumerate(ids):
        assert f"samples/{sample}.html" in board.targets
        page = Page(left / "samples" / f"{sample}.html")
        assert "../index.html" in page.targets
        assert page.tags["img"] == 1 + 3 * 2
        if number:
            assert f"{ids[number - 1]}.html" in page.targets
        for target in page.targets:
            file = target.partition("#")[0]
            assert not file or file.startswith("https://") or (left / "samples" / file).is_file()


def test_every_row_has_a_page_to_which_its_rates_lead(left: Path) -> None:
    board = Page(left / "index.html")
    samples = gallery_of(left).samples
    entries = sorted(path.stem for path in left.glob("entries/*.json"))
    pages = sorted((left / "mitigations").iterdir())
    assert [page.stem for page in pages] == sorted({name.split(".")[0] for name in entries})
    for entry in entries:
        row, attack = entry.split(".")
        assert f"mitigations/{row}.html#attack-{attack}" in board.targets
        page = Page(left / "mitigations" / f"{row}.html")
        assert f"../entries/{entry}.json" in page.targets
        assert f"attack-{attack}" in page.anchors
        assert page.tags["img"] == len(samples) * (1 + 2)
        for target in page.targets:
            file = target.partition("#")[0]
            assert (
                not file or file.startswith("https://") or (left / "mitigations" / file).is_file()
            )


def test_strips_show_original_unmitigated_mitigated_and_attacked(tmp_path: Path) -> None:
    pictured_board(tmp_path)
    assert write(tmp_path) == 0
    text = " ".join(Page(tmp_path / "index.html").text.split())
    assert "original unmitigated" in text and "attacked: dori" in text
    assert "✓ copy: 0.51 ≥ 0.50" in text
    assert "image 2 of 2; copies: 1" in text
    assert "second judge: no copy, 0.40" in text
    assert "Controls" in text


def test_a_likeness_beside_the_threshold_is_told_apart_from_it(tmp_path: Path) -> None:
    pictured_board(tmp_path)
    gallery = json.loads((tmp_path / GALLERY_FILE).read_text())
    for picture in gallery["pictures"]:
        picture["likeness"] = 0.5004 if picture["likeness"] >= 0.5 else 0.4996
    (tmp_path / GALLERY_FILE).write_text(json.dumps(gallery))
    assert write(tmp_path) == 0
    text = " ".join(Page(tmp_path / "index.html").text.split())
    assert "✓ copy: 0.5004 ≥ 0.5000" in text
    assert "0.50 <" not in text


def test_a_row_shows_its_card(tmp_path: Path) -> None:
    pictured_board(tmp_path)
    assert write(tmp_path) == 0
    page = Page(tmp_path / "index.html")
    assert "Hide and seek" in page.text and "Somebody et al. 2026" in page.text
    assert "https://arxiv.org/abs/0000.00000" in page.targets
    assert not [t for t in page.targets if t.startswith("http:") or t.startswith("javascript")]


def test_a_card_s_text_is_shown_and_not_run(tmp_path: Path) -> None:
    text = "<script>alert(1)</script>'\"</style>"
    pictured_board(tmp_path, MethodCard(title=text, sentence=text, authors=text, family=text))
    assert write(tmp_path) == 0
    page = Page(tmp_path / "index.html")
    assert page.tags["script"] == 1 and page.tags["style"] == 1
    assert text in page.text
    table = (tmp_path / "leaderboard.tex").read_text()
    assert "alert" in table and "\\caption" in table


def without_a_copy(gallery: Any) -> None:
    shown = next(p for p in gallery["pictures"] if sum(p["copies"]) and p["attack"] == "dori")
    shown["copies"] = [0] * len(shown["copies"])


def without_a_second_copy(gallery: Any) -> None:
    shown = next(p for p in gallery["pictures"] if sum(p["second_copies"]))
    shown["second_copies"] = [0] * len(shown["second_copies"])


def of_more_than_k(gallery: Any) -> None:
    gallery["pictures"][0]["copies"][0] = 3


def of_no_entry(gallery: Any) -> None:
    gallery["pictures"][0]["mitigation"] = "unheard-of"


def elsewhere(gallery: Any) -> None:
    gallery["pictures"][0]["picture"] = "gallery/../../secret.webp"


def missing(gallery: Any) -> None:
    gallery["samples"][0]["original"] = "gallery/m0/lost.webp"


def above(gallery: Any) -> None:
    gallery["samples"][0]["id"] = "../index"


def twice(gallery: Any) -> None:
    gallery["samples"].append(gallery["samples"][0])


def of_another_kind(gallery: Any) -> None:
    gallery["colour"] = "red"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (without_a_copy, "samples come back, where the entry counts"),
        (without_a_second_copy, "samples come back, where the second judge counts"),
        (of_more_than_k, "copies of other budgets, or of more than k images"),
        (of_no_entry, "unheard-of x none stands twice, or in no entry"),
        (elsewhere, "is no picture in `gallery`"),
        (missing, "gallery/m0/lost.webp is missing"),
        (above, "'../index' is no name of a page"),
        (twice, "a sample stands twice"),
        (of_another_kind, "no gallery ('colour': there is no such name)"),
    ],
)
def test_a_gallery_that_does_not_follow_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], edit: Callable[[Any], None], said: str
) -> None:
    pictured_board(tmp_path)
    change(tmp_path / GALLERY_FILE, edit)
    assert write(tmp_path) == BAD_INPUT
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "index.html").exists()


# Who measured a row, and when.


def lines(folder: Path) -> Iterator[tuple[str, str, str]]:
    for line in (folder / "history.jsonl").read_text().splitlines():
        change = json.loads(line)
        assert datetime.date.fromisoformat(change["date"])
        yield change["row"], change["change"], change["by"]


def site(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["site", *arguments])
    return int(ended.value.code or 0)


def test_changes_are_recorded_under_a_name_and_only_once(tmp_path: Path) -> None:
    pictured_board(tmp_path)
    assert site(str(tmp_path)) == 0
    assert not (tmp_path / "history.jsonl").exists()
    assert site(str(tmp_path), "--by", "Ada") == 0
    rows = [("hide", "new", "Ada"), ("none", "new", "Ada"), ("retrain", "new", "Ada")]
    assert sorted(lines(tmp_path)) == rows
    assert site(str(tmp_path), "--by", "Ben") == 0
    assert sorted(lines(tmp_path)) == rows
    page = Page(tmp_path / "index.html").text
    told = " ".join(page.split())
    assert "by Ada, " in told
    assert "by Ada: 3 rows new" in told
    # A card says how a row is called, and not what was measured of it.
    pictured_board(tmp_path, MethodCard(title="Another title"))
    assert site(str(tmp_path), "--by", "Ben") == 0
    assert sorted(lines(tmp_path)) == rows


def test_a_note_is_told_beside_what_it_is_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictured_board(tmp_path)
    assert site(str(tmp_path), "--note", "by a new judge") == BAD_INPUT
    assert "--note: is told of rows that --by records" in capsys.readouterr().err
    assert site(str(tmp_path), "--by", "Ada", "--note", "two\nlines") == BAD_INPUT
    assert "--note: 'note'" in capsys.readouterr().err
    assert not (tmp_path / "history.jsonl").exists()
    assert site(str(tmp_path), "--by", "Ada", "--note", "by a new judge") == 0
    told = " ".join(Page(tmp_path / "index.html").text.split())
    assert "by Ada: 3 rows new (by a new judge)" in told
    # Also where there is nothing to record.
    assert site(str(tmp_path), "--by", "Ada", "--note", "two\nlines") == BAD_INPUT


@pytest.mark.parametrize("name", ["", "two\nlines"])
def test_a_name_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    pictured_board(tmp_path)
    assert site(str(tmp_path), "--by", name) == BAD_INPUT
    assert "--by: 'by'" in capsys.readouterr().err


def test_a_line_that_is_no_change_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictured_board(tmp_path)
    (tmp_path / "history.jsonl").write_text('{"date": "yesterday"}\n')
    assert site(str(tmp_path)) == BAD_INPUT
    assert "history.jsonl, line 1: 'date'" in capsys.readouterr().err
