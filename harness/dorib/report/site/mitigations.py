"""A page for each row with pictures: what came of each sample under every attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import Leaderboard, entry_file
from dorib.report.gallery import PicturedSample
from dorib.report.site.pictures import Pictures, Shown
from dorib.report.site.rows import BoardRow
from dorib.store.files import write_text

if TYPE_CHECKING:
    from jinja2 import Environment

MITIGATIONS = "mitigations"
"""Folder of their pages."""


@dataclass(frozen=True)
class PicturedRow:
    """A row's page and what it shows."""

    row: BoardRow
    columns: tuple[Entry, ...]
    """Its cells that have pictures."""
    samples: tuple[tuple[PicturedSample, tuple[Shown | None, ...]], ...]
    """Each sample with its picture of each column."""

    @property
    def page(self) -> str:
        """Its place below the board's folder."""
        return f"{MITIGATIONS}/{self.row.stem}.html"

    @property
    def places(self) -> dict[str, str]:
        """Where on its page an attack stands, by the attack's label."""
        return {entry.attack.label: f"{self.page}#{anchor(entry)}" for entry in self.columns}


def anchor(entry: Entry) -> str:
    """An attack's place in the address of a page."""
    return "attack-" + Path(entry_file(entry)).stem.split(".")[1]


def pictured_rows(
    rows: Sequence[BoardRow], columns: Sequence[Entry], pictures: Pictures
) -> list[PicturedRow]:
    """Those of `rows` that have pictures; attacks in the order of the board's `columns`."""
    found = []
    for row in rows:
        cells = [row.cells[e.attack.label] for e in columns if e.attack.label in row.cells]
        shown = {
            entry.attack.label: [
                pictures.of(sample.id, row.method.label, entry.attack.label)
                for sample in pictures.samples
            ]
            for entry in cells
        }
        own = tuple(entry for entry in cells if any(shown[entry.attack.label]))
        by_sample = zip(*(shown[entry.attack.label] for entry in own), strict=True)
        if own:
            samples = tuple(zip(pictures.samples, by_sample, strict=True))
            found.append(PicturedRow(row, own, samples))
    return found


def write_mitigations(
    folder: Path, board: Leaderboard, rows: Sequence[PicturedRow], environment: Environment
) -> None:
    """Write `mitigations/<row>.html` for each of `rows`."""
    (folder / MITIGATIONS).mkdir(exist_ok=True)
    template = environment.get_template("mitigation.html")
    for number, one in enumerate(rows):
        text = template.render(
            board=board,
            one=one,
            before=rows[number - 1] if number else None,
            after=next(iter(rows[number + 1 : number + 2]), None),
            anchor=anchor,
        )
        write_text(folder / one.page, text)
