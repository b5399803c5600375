"""What a run found, for people: the table, how much was run, and where the files are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dorib.cli import terminal
from dorib.cli.tables import cell_label, figures_columns, heading_label
from dorib.printable import printable
from dorib.report.overview import counted, footnotes, scale, table_lines, titles, verdicts

if TYPE_CHECKING:
    from pathlib import Path

    from dorib.ranking.entries import Entry
    from dorib.report.run_result import RunResult

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
    # A quantity's name may be long: its words stand below one another.
    columns = [printable(title).replace("_", "\n") for title in titles(entries)]
    table = figures_columns((HEADING, *columns), rows)
    table.add_column("flags")
    for label, *cells in rows:
        style = "" if label.startswith(" ") else "bold"
        table.add_row(Text(label, style=style), *map(Text, cells))
    return table


def _rows(entries: Sequence[Entry]) -> Iterator[tuple[str, ...]]:
    for line in table_lines(entries):
        if line.is_heading:
            yield heading_label(line.label), *[""] * len(titles(entries)), line.flags
        else:
            yield cell_label(line.label), *line.figures, line.flags


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
