"""`dorib store`: what a run's store holds, what takes room, what is damaged or no longer needed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dorib.errors import DoribError

if TYPE_CHECKING:
    from dorib.report.storekeeping import Holding

app = typer.Typer(help="What a run's store holds, and what of it is needed.", no_args_is_help=True)

DAMAGED = 1
"""Exit code of `verify` where something is."""
DAY = 24 * 3600
_UNITS = {"h": 3600, "d": DAY, "w": 7 * DAY}
_SHOWN = 60
"""Characters of the labels in a row."""

Out = Annotated[Path, typer.Argument(help="What `dorib run --out` wrote.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OlderThan = Annotated[
    str | None,
    typer.Option(metavar="AGE", help="Only what nobody has touched for so long: 12h, 30d or 8w."),
]


@app.command("ls")
def list_shelves(
    out: Out = Path("dorib-out"),
    board: Annotated[
        str | None, typer.Option(help="Only what this board needs: how its name begins.")
    ] = None,
    unneeded: Annotated[
        bool,
        typer.Option("--unneeded", help="Only what no entry of the board in OUT was made from."),
    ] = False,
    older_than: OlderThan = None,
    as_json: AsJson = False,
) -> None:
    """List the shelves: of which mitigation and attack, with items, size and age."""
    from dorib.cli import terminal
    from dorib.cli.tables import line_table
    from dorib.report.storekeeping import holdings

    least = _seconds(older_than) or 0
    there = holdings(out)
    names = {name for one in there for name in one.boards}
    if board is not None and not any(name.startswith(board) for name in names):
        listed = ", ".join(sorted(name[:8] for name in names)) or "none"
        raise DoribError(f"{out}: no board {board!r} in its store; there are: {listed}")
    found = [
        one
        for one in there
        if one.shelf.age >= least
        and not (unneeded and one.needed)
        and (board is None or any(name.startswith(board) for name in one.boards))
    ]
    if as_json:
        terminal.show_json([_as_json(one) for one in found])
        return
    titles = ("shelf", "mitigation", "attack", "items", "size", "age", "needed")
    console = terminal.results_console()
    terminal.show_table(console, line_table(titles, map(_row, found)))
    terminal.say(console, "", _total(found))


@app.command()
def du(out: Out = Path("dorib-out"), as_json: AsJson = False) -> None:
    """Say what takes the room: by kind, and by mitigation."""
    from dorib.cli import terminal
    from dorib.cli.tables import line_table
    from dorib.report.storekeeping import holdings

    found = holdings(out)
    by_kind: dict[str, int] = {}
    by_mitigation: dict[str, int] = {}
    for one in found:
        by_kind[one.shelf.kind] = by_kind.get(one.shelf.kind, 0) + one.shelf.size
        # What serves several is counted where it was needed first.
        name = one.mitigations[0] if one.mitigations and one.shelf.kind != "boards" else "-"
        by_mitigation[name] = by_mitigation.get(name, 0) + one.shelf.size
    total = sum(by_kind.values())
    if as_json:
        terminal.show_json({"kinds": by_kind, "mitigations": by_mitigation, "bytes": total})
        return
    console = terminal.results_console()
    for title, sizes in (("kind", by_kind), ("mitigation", by_mitigation)):
        largest_first = sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))
        rows = [(name, in_words(size)) for name, size in largest_first]
        terminal.show_table(console, line_table((title, "size"), rows))
        terminal.say(console, "")
    terminal.say(console, _total(found))


@app.command()
def prune(
    out: Out = Path("dorib-out"),
    older_than: OlderThan = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it, not only list it.")] = False,
) -> None:
    """List what no entry of the board in OUT was made from; with --yes, remove it."""
    from dorib.cli import terminal
    from dorib.cli.tables import line_table
    from dorib.report import storekeeping

    found = storekeeping.prunable(out, _seconds(older_than))
    console = terminal.results_console()
    if found:
        titles = ("shelf", "mitigation", "attack", "items", "size", "age", "needed")
        terminal.show_table(console, line_table(titles, map(_row, found)))
        terminal.say(console, "")
    if yes:
        storekeeping.prune(out, found)
        terminal.say(console, f"removed: {_total(found)}")
    elif found:
        terminal.say(console, f"not needed: {_total(found)}; --yes removes it")
    else:
        terminal.say(console, "nothing to remove")


@app.command()
def verify(out: Out = Path("dorib-out")) -> None:
    """Hold every file against its index: exit code 1 where one is damaged; removes nothing."""
    from dorib.cli import terminal
    from dorib.report.storekeeping import damages

    console = terminal.results_console()
    found = list(damages(out))
    for place, reason in found:
        terminal.say(console, f"{place}: {reason}")
    if found:
        terminal.say(console, f"{_counted(len(found), 'place')} damaged: run again to compute anew")
        raise typer.Exit(DAMAGED)
    terminal.say(console, "all is as it was written")


def in_words(size: float) -> str:
    """Bytes, as people read them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _seconds(age: str | None) -> float | None:
    if age is None:
        return None
    found = re.fullmatch(r"(\d{1,6})([hdw])", age)
    if found is None:
        raise DoribError(f"--older-than {age}: not understood; give for example 12h, 30d or 8w")
    return float(found[1]) * _UNITS[found[2]]


def _row(one: Holding) -> tuple[str, ...]:
    shelf = one.shelf
    kind, _, folder = shelf.place.partition("/")
    return (
        f"{kind}/{folder[:8]}",
        _few(one.mitigations),
        _few(one.attacks),
        str(shelf.items),
        in_words(shelf.size),
        f"{shelf.age / DAY:.0f} d" if shelf.age >= 2 * DAY else f"{shelf.age / 3600:.0f} h",
        "yes" if one.needed else "no",
    )


def _few(labels: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    if not labels:
        return "-"
    first = labels[0] if len(labels[0]) <= _SHOWN else labels[0][: _SHOWN - 3] + "..."
    return first if len(labels) == 1 else f"{first} + {len(labels) - 1}"


def _as_json(one: Holding) -> dict[str, Any]:
    return {
        "shelf": one.shelf.place,
        "cells": [{"mitigation": m, "attack": a} for m, a in one.cells],
        "boards": list(one.boards),
        "items": one.shelf.items,
        "bytes": one.shelf.size,
        "age": round(one.shelf.age),
        "needed": one.needed,
    }


def _total(found: Iterable[Holding]) -> str:
    shelves = [one.shelf for one in found]
    return f"{_counted(len(shelves), 'shelf')}, {in_words(sum(one.size for one in shelves))}"


def _counted(number: int, noun: str) -> str:
    plural = {"shelf": "shelves"}.get(noun, f"{noun}s")
    return f"{number} {noun if number == 1 else plural}"
