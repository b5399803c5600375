"""What a run found, for people: the table, how much was run, and where the files are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from textwrap import indent
from typing import TYPE_CHECKING, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dorib.cli import terminal
from dorib.cli.tables import longest_line
from dorib.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

    from dorib.ranking.entries import BudgetPoint, Entry, Rate
    from dorib.report.results import RunResult

ABSENT = "-"
LABEL_WIDTH = 24
HEADING = "mitigation / attack"
NUMBERS = ("memorized", "controls", "oracle", "utility", "work")


def show_result(result: RunResult, console: Console) -> None:
    """Print the table of a run and what belongs below it."""
    terminal.say(console, "")
    terminal.show_table(console, results_table(result.entries))
    terminal.say(console, *_explanations(result), *_places(result))


def results_table(entries: Sequence[Entry]) -> Table:
    """For each mitigation a heading, and below it a row for each attack; 80 columns do.

    Flags are folded where there is less room, names and numbers never.
    """
    rows = list(_rows(entries))
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for place, title in enumerate((HEADING, *NUMBERS)):
        width = max(longest_line(Text(text)) for text in (title, *(row[place] for row in rows)))
        justify: Literal["left", "right"] = "right" if place else "left"
        table.add_column(title, justify=justify, no_wrap=True, min_width=width)
    table.add_column("flags")
    for label, *cells in rows:
        style = "" if label.startswith(" ") else "bold"
        table.add_row(Text(label, style=style), *map(Text, cells))
    return table


def _rows(entries: Sequence[Entry]) -> Iterator[tuple[str, ...]]:
    for mitigation, group in groupby(entries, key=lambda entry: entry.mitigation.label):
        cells = list(group)
        shared = [flag for flag in flags(cells[0]) if all(flag in flags(c) for c in cells)]
        yield _packed(mitigation, LABEL_WIDTH), *[""] * len(NUMBERS), ", ".join(shared)
        for entry in cells:
            yield (
                indent(_packed(entry.attack.label, LABEL_WIDTH - 2), "  "),
                _with_interval(entry.memorization_rate),
                _bare(entry.controls_rate),
                _bare(entry.oracle_rate),
                f"{entry.utility.value:.2f}" if entry.utility else ABSENT,
                f"{entry.work.search_mean_memorized:.0f}",
                ", ".join(flag for flag in flags(entry) if flag not in shared),
            )


def flags(entry: Entry) -> Iterator[str]:
    """What a reader must know before comparing this row with others."""
    if entry.not_applicable is not None:
        yield "not applicable"
    elif not (entry.ranked or entry.reference_line):
        yield "unranked"
    if entry.errors:
        yield f"{entry.errors} error{'s' if entry.errors > 1 else ''}"
    if entry.scope == "per_sample":
        yield "per sample"
    if entry.bypass:
        yield "bypass"


def _packed(label: str, width: int) -> str:
    """A long label on several lines, broken between its parameters; within one that is too long."""
    lines = [""]
    longest = width - len("  ") - len(",")
    for piece in re.findall(rf"[^:,]{{1,{longest}}}[:,]?|[:,]", printable(label)):
        if lines[-1] and len(lines[-1]) + len(piece) > width:
            lines.append("  ")
        lines[-1] += piece
    return "\n".join(lines)


def _with_interval(rate: Rate | None) -> str:
    return f"{rate.rate:.2f} ({rate.low:.2f}-{rate.high:.2f})" if rate else ABSENT


def _bare(rate: Rate | None) -> str:
    return f"{rate.rate:.2f}" if rate else ABSENT


def _explanations(result: RunResult) -> Iterator[str]:
    first = result.entries[0]
    yield ""
    if any(point.budget for point in _points(result.entries)):
        yield f"memorized, controls, oracle: memorization_rate@{first.k} at the largest budget"
    else:
        yield f"memorized, controls, oracle: memorization_rate@{first.k}"
    yield "in brackets: exact 95 % interval; work: mean U-Net items per memorized sample"
    yield from _reasons(result.entries)
    yield from _without(first)
    if result.lacking:
        more = _count(len(result.lacking), "more attack")
        yield f"ranks in leaderboard.json take {more}: run with -a required"
    yield ""
    yield _scale(result)
    if result.reused:
        yield "Nothing had to be computed: every result was in the store."


def _reasons(entries: Sequence[Entry]) -> Iterator[str]:
    """Why rows are not ranked; once for a mitigation where it is the same for all attacks."""
    for mitigation, group in groupby(entries, key=lambda entry: entry.mitigation.label):
        cells = [entry for entry in group if not entry.reference_line]
        reasons = {entry.attack.label: entry.reason_not_ranked for entry in cells}
        if len(set(reasons.values())) == 1:
            reasons = {"any attack": cells[0].reason_not_ranked}
        for attack, reason in reasons.items():
            if reason:
                yield f"unranked: {mitigation} x {attack}: {reason}"


def _without(entry: Entry) -> Iterator[str]:
    """What the samples lack."""
    if not entry.samples.controls:
        yield "no controls: nothing tells what an attack draws from images the model never saw"
    if entry.samples.unscorable:
        lacking = _count(entry.samples.unscorable, "sample")
        yield f"unscorable: {lacking} without an original image, in no rate"


def _scale(result: RunResult) -> str:
    first = result.entries[0]
    budgets = sorted({point.budget for point in _points(result.entries)} - {0})
    parts = [
        _count(first.samples.memorized, "memorized sample"),
        _count(first.samples.controls, "control"),
        _count(first.k, "seed"),
    ]
    if budgets:
        listed = ", ".join(map(str, budgets))
        parts.append(f"budget{'s' if len(budgets) > 1 else ''} {listed}")
    profile = {"quick": "Quick profile", "full": "Full profile", "custom": "Custom selection"}
    line = f"{profile[result.profile]}: {'; '.join(parts)}."
    return line if result.profile == "full" else f"{line} --full runs everything."


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


def _points(entries: Iterable[Entry]) -> Iterator[BudgetPoint]:
    return (point for entry in entries for point in entry.curve)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _unique(items: Iterable[Path]) -> list[Path]:
    return list(dict.fromkeys(items))
