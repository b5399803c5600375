"""A page for each sample: what every mitigation under every attack drew of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import Leaderboard
from dorib.report.gallery import PicturedSample
from dorib.report.site import charts
from dorib.report.site.charts import Line, Mark, Panel
from dorib.report.site.pictures import Pictures, Shown
from dorib.report.site.rows import BoardRow
from dorib.store.files import write_text

if TYPE_CHECKING:
    from jinja2 import Environment

SAMPLES = "samples"
"""Folder of their pages."""


@dataclass(frozen=True)
class SampleRow:
    """One mitigation's pictures of the sample, one for each column that it was attacked by."""

    row: BoardRow
    shown: tuple[Shown | None, ...]


def write_samples(
    folder: Path,
    board: Leaderboard,
    rows: Sequence[BoardRow],
    columns: Sequence[Entry],
    pictures: Pictures,
    environment: Environment,
) -> None:
    """Write `samples/<id>.html` for each sample of a gallery."""
    target = folder / SAMPLES
    target.mkdir(exist_ok=True)
    template = environment.get_template("sample.html")
    for number, sample in enumerate(pictures.samples):
        of_sample = _rows(rows, columns, pictures, sample)
        text = template.render(
            board=board,
            sample=sample,
            before=pictures.samples[number - 1].id if number else None,
            after=next((s.id for s in pictures.samples[number + 1 : number + 2]), None),
            rows=of_sample,
            columns=columns,
            survival=_survival(rows, of_sample),
        )
        write_text(target / f"{sample.id}.html", text)


def _rows(
    rows: Sequence[BoardRow], columns: Sequence[Entry], pictures: Pictures, sample: PicturedSample
) -> list[SampleRow]:
    found = []
    for row in rows:
        label = row.method.label
        shown = tuple(pictures.of(sample.id, label, one.attack.label) for one in columns)
        if any(shown):
            found.append(SampleRow(row, shown))
    return found


def _survival(rows: Sequence[BoardRow], of_sample: Sequence[SampleRow]) -> Panel | None:
    """The share of the searches that this sample holds against, over their budget."""
    looks = charts.looks(rows)
    lines = []
    budgets: list[int] = []
    for one in of_sample:
        searched = [shown for shown in one.shown if shown and shown.entry.searches]
        if not searched:
            continue
        budgets = searched[0].budgets
        shares = [
            sum(s.broken_at is None or s.broken_at > budget for s in searched) / len(searched)
            for budget in budgets
        ]
        marks = tuple(_steps([0, *budgets], [1.0, *shares], one.row.name))
        look = looks.get(one.row.anchor, "other")
        lines.append(Line(one.row.short, look, marks, one.row.anchor))
    if not lines:
        return None
    ticks = tuple((charts.budget_x(b, budgets[-1]), str(b)) for b in (0, *budgets))
    return Panel("", tuple(charts.labelled(lines)), ticks)


def _steps(budgets: Sequence[int], shares: Sequence[float], name: str) -> list[Mark]:
    """A curve that falls at a budget, at once."""
    marks: list[Mark] = []
    for budget, share in zip(budgets, shares, strict=True):
        x, y = charts.budget_x(budget, budgets[-1]), charts.share_y(share)
        if marks:
            marks.append(Mark(x, marks[-1].y, marks[-1].y, marks[-1].y))
        marks.append(Mark(x, y, y, y, title=f"{name}: holds against {share:.0%} within {budget}"))
    return marks
