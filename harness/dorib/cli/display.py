"""What a run found, for people: the table, how much was run, and where the files are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from textwrap import indent
from typing import TYPE_CHECKING, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dorib.cli import terminal
from dorib.cli.tables import longest_line
from dorib.printable import printable
from dorib.report.overview import counted, footnotes, scale, table_lines, titles, verdicts

if TYPE_CHECKING:
    from pathlib import Path

    from dorib.ranking.entries import Entry
    from dorib.report.run_result import RunResult

LABEL_WIDTH = 24
HEADING = "mitigation / attack"


def show_result(result: RunResult, console: Console) -> None:
    """Print the table of a run and what belongs below it."""
    terminal.say(console, "")
    terminal.show_table(console, results_table(result.entries))
    terminal.say(console, *_explanations(result), *_places(result), *_verdicts(result))


def results_table(entries: Sequence[Entry]) -> Table:
    """For each mitigation a heading, and below it a row for each attack; 80 columns do.

    Flags are folded where there is less room, names and numbers never.
    """
    rows = list(_rows(entries))
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    # A quantity's name may be long: its words stand below one another.
    columns = [printable(title).replace("_", "\n") for title in titles(entries)]
    for place, title in enumerate((HEADING, *columns)):
        width = max(longest_line(Text(text)) for text in (title, *(row[place] for row in rows)))
        justify: Literal["left", "right"] = "right" if place else "left"
        table.add_column(title, justify=justify, no_wrap=True, min_width=width)
    table.add_column("flags")
    for label, *cells in rows:
        style = "" if label.startswith(" ") else "bold"
        table.add_row(Text(label, style=style), *map(Text, cells))
    return table


def _rows(entries: Sequence[Entry]) -> Iterator[tuple[str, ...]]:
    for line in table_lines(entries):
        if line.is_heading:
            yield _packed(line.label, LABEL_WIDTH), *[""] * len(titles(entries)), line.flags
        else:
            label = indent(_packed(line.label, LABEL_WIDTH - 2), "  ")
            yield label, *line.figures, line.flags


def _packed(label: str, width: int) -> str:
    """A long label on several lines, broken between its parameters; within one that is too long."""
    lines = [""]
    longest = width - len("  ") - len(",")
    for piece in re.findall(rf"[^:,]{{1,{longest}}}[:,]?|[:,]", printable(label)):
        if lines[-1] and len(lines[-1]) + len(piece) > width:
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


def _verdicts(result: RunResult) -> Iterator[str]:
    """The last lines: what it all comes to."""
    for label, found in verdicts(result.entries):
        yield ""
        yield f"{found.word}: {label}"
        yield f"  {found.sentence}."


def _unique(items: Iterable[Path]) -> list[Path]:
    return list(dict.fromkeys(items))
