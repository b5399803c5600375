"""What a notebook shows of results: the table and some strips, escaped and bounded."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

import dorib
from dorib.cli.display import results_table
from dorib.report import html
from dorib.report.html import results_html
from fixtures.notebook_html import Shown

PUBLISHED = dorib.open(Path(__file__).parents[1] / "leaderboards" / "tiny-4.1")
SCRIPT = "<script>alert('1')</script>\" onload=\"x"


def png(path: Path, side: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), "red").save(path)
    return path


def strips(folder: Path, samples: int) -> dict[tuple[str, str, str], Path]:
    cells = [(e.mitigation.label, e.attack.label) for e in PUBLISHED.entries]
    picture = png(folder / "strip.png")
    return {(*cell, f"sample-{n}"): picture for cell in cells for n in range(samples)}


def relabelled(entry: dorib.Entry, **changes: Any) -> dorib.Entry:
    mitigation = entry.mitigation.model_copy(update={"label": SCRIPT})
    return entry.model_copy(update={"mitigation": mitigation, **changes})


def test_the_table_is_that_of_the_command_line() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(results_table(PUBLISHED.entries))
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    shown = Shown(PUBLISHED._repr_html_())
    cells = [row for row in shown.rows if len(row) == 7]
    assert len(cells) == len(PUBLISHED.entries) + 1
    for row in cells[1:]:
        figures = [row[1], *row[2:6]]
        assert any(all(figure in line for figure in figures) for line in printed.splitlines())
    headings = [row[0] for row in shown.rows if len(row) == 2]
    assert headings == list(dict.fromkeys(e.mitigation.label for e in PUBLISHED.entries))
    assert "memorization_rate@" in shown.text
    assert "12 memorized samples; 16 controls" in shown.text


def test_text_from_outside_is_shown_and_not_run(tmp_path: Path) -> None:
    entry = next(e for e in PUBLISHED.entries if e.searches and not e.reference_line)
    suite = entry.suite.model_copy(update={"name": SCRIPT, "version": SCRIPT})
    attack = entry.attack.model_copy(update={"label": SCRIPT})
    changes = {"suite": suite, "split": SCRIPT, "attack": attack, "reason_not_ranked": SCRIPT}
    picture = png(tmp_path / "strip.png")
    shown = Shown(results_html([relabelled(entry, **changes)], {(SCRIPT, SCRIPT, SCRIPT): picture}))
    assert "script" not in shown.tags
    assert shown.text.count(SCRIPT) >= 8
    assert len(shown.images) == 1


def test_an_image_is_embedded_as_it_is(tmp_path: Path) -> None:
    pictures = strips(tmp_path, samples=1)
    [first, *_] = Shown(results_html(PUBLISHED.entries, pictures)).images
    kind, _, content = first.partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content) == (tmp_path / "strip.png").read_bytes()


@pytest.mark.parametrize("samples", [1, 2, 500])
def test_strips_are_bounded_in_number(samples: int, tmp_path: Path) -> None:
    pictures = strips(tmp_path, samples)
    shown = Shown(results_html(PUBLISHED.entries, pictures))
    assert len(shown.images) == html.STRIPS
    assert f"{html.STRIPS} of {len(pictures)} strips" in shown.text


def test_strips_are_bounded_in_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = strips(tmp_path, samples=2)
    size = (tmp_path / "strip.png").stat().st_size
    monkeypatch.setattr(html, "BYTES", 3 * size + 1)
    shown = Shown(results_html(PUBLISHED.entries, pictures))
    assert len(shown.images) == 3
    assert f"3 of {len(pictures)} strips" in shown.text


def test_the_strips_are_those_of_searches_on_mitigations(tmp_path: Path) -> None:
    entries = [e for e in PUBLISHED.entries if e.attack.label in ("none", "dori")]
    cells = {(e.mitigation.label, e.attack.label): e for e in entries}
    pictures = {(*cell, "cat"): png(tmp_path / f"{n}.png", n + 1) for n, cell in enumerate(cells)}
    telling = [
        path.read_bytes()
        for (mitigation, attack, _), path in pictures.items()
        if attack == "dori" and not cells[mitigation, attack].reference_line
    ]
    images = Shown(results_html(entries, pictures)).images
    assert [base64.b64decode(image.partition(",")[2]) for image in images] == telling[:8]


def test_a_run_without_mitigations_shows_its_reference_lines(tmp_path: Path) -> None:
    entries = [e for e in PUBLISHED.entries if e.reference_line]
    pictures = {("none", "none", "cat"): png(tmp_path / "strip.png")}
    assert len(Shown(results_html(entries, pictures)).images) == 1


def test_a_damaged_strip_is_named(tmp_path: Path) -> None:
    place = (PUBLISHED.entries[0].mitigation.label, PUBLISHED.entries[0].attack.label, "cat")
    (tmp_path / "strip.png").write_bytes(b"<svg onload=x>")
    with pytest.raises(dorib.DoribError, match=r"strip.png: no PNG file; run again"):
        results_html(PUBLISHED.entries, {place: tmp_path / "strip.png"})
    with pytest.raises(dorib.DoribError, match=r"gone.png: cannot be read"):
        results_html(PUBLISHED.entries, {place: tmp_path / "gone.png"})
