"""What a run found, for people: the table, how much was run, and where the files are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from textwrap import indent
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dorib.report.overview import FIGURES, counted, footnotes, scale, table_lines

if TYPE_CHECKING:
    from pathlib import Path

    from dorib.ranking.entries import Entry
    from dorib.report.results import RunResult

LABEL_WIDTH = 24


def show_result(result: RunResult, console: Console) -> None:
    """Print the table of a run and what belongs below it."""
    console.print()
    console.print(results_table(result.entries))
    for line in (*_explanations(result), *_places(result)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def results_table(entries: Sequence[Entry]) -> Table:
    """For each mitigation a heading, and below it a row for each attack; 80 columns do."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("mitigation / attack", no_wrap=True)
    for title in FIGURES:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("flags")
    for line in table_lines(entries):
        if line.is_heading:
            label = Text(_packed(line.label), style="bold")
        else:
            label = Text(indent(_packed(line.label), "  "))
        table.add_row(label, *(line.figures or [""] * len(FIGURES)), line.flags)
    return table


def _packed(label: str) -> str:
    """A long label on several lines, broken between its parameters and nowhere else."""
    lines = [""]
    for piece in re.split(r"(?<=[:,])", label):
        if lines[-1] and len(lines[-1]) + len(piece) > LABEL_WIDTH:
            lines.append("  ")
        lines[-1] += piece
    return "\n".join(lines)


def _explanations(result: RunResult) -> Iterator[str]:
    yield ""
    yield from footnotes(result.entries)
    if result.lacking:
        more = counted(len(result.lacking), "more attack")
        yield f"ranks in leaderboard.json take {more}: run with -a required"
    yield ""
    extent = scale(result.entries, result.profile)
    yield extent if result.profile == "full" else f"{extent} --full runs everything."
    for reason in result.failed:
        yield f"failed: {reason}"
    if result.reused:
        yield "Nothing had to be computed: every result was in the store."


def _places(result: RunResult) -> Iterator[str]:
    yield ""
    yield f"leaderboard  {result.leaderboard}"
    for folder in _unique(path.parent for path in result.entry_files):
        yield f"entries      {folder}/"
    for folder in _unique(path.parent for path in result.pictures.values()):
        yield f"strips       {folder}/<mitigation>.<attack>/<sample>.png"
    if result.pictures:
        *_, last = result.pictures.values()
        yield f"for example  {last / 'overview.png'}"


def _unique(items: Iterable[Path]) -> list[Path]:
    return list(dict.fromkeys(items))
