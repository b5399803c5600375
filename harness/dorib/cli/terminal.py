"""Where the commands print: results on standard output, progress and notes on standard error.

What is printed may come from outside: escape sequences in it are shown and not obeyed. A stream
that cannot write a character shows its code instead, and one that nobody reads ends the program
quietly.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import IO, Any, NoReturn, TextIO

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from dorib.errors import DoribError
from dorib.printable import printable

UNBOUNDED = 10_000
"""Columns, more than any terminal has."""
NOBODY_READS = 1
"""Exit status; in a pipe it is the last program's that counts."""


def results_console() -> Console:
    """Standard output."""
    return _console(sys.stdout)


def progress_console() -> Console:
    """Standard error."""
    return _console(sys.stderr)


def say(console: Console, *lines: str) -> None:
    """Print lines as they are, however long: a terminal wraps them, a file holds them whole."""
    # Not wrapped at 80 columns where nobody looks: what is searched for in a log, a sentence or a
    # path, stands on one line of it.
    for line in lines:
        _write(console, Text(printable(line)), soft_wrap=True)


def show_table(console: Console, table: Table) -> None:
    """Print a table, wider than the terminal where its columns cannot be narrower."""
    options = console.options.update(width=UNBOUNDED)
    least = Measurement.get(console, options, table).minimum
    wide = console if least <= console.width else _console(console.file, least)
    _write(wide, table)


def show_json(content: Any) -> None:
    """Print a JSON value: in ASCII, so that nothing in it acts on the terminal."""
    _write(results_console(), Text(json.dumps(content, indent=2)), soft_wrap=True)


def _console(stream: TextIO | Any, width: int | None = None) -> Console:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    console = _Quiet(file=stream, width=width, highlight=False)
    # COLUMNS=0, as some shells have it, would leave nothing of a line.
    return console if console.width > 0 else _Quiet(file=stream, width=80, highlight=False)


class _Quiet(Console):
    """Ends the program without a word where the reader of a pipe has gone."""

    def on_broken_pipe(self) -> NoReturn:
        """Leave nothing to be written when the interpreter ends."""
        end_unread(self.file)


def end_unread(stream: IO[str]) -> NoReturn:
    """End the program quietly; what `stream` still holds goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    sys.exit(NOBODY_READS)


def _write(console: Console, content: Any, soft_wrap: bool = False) -> None:
    try:
        console.print(content, soft_wrap=soft_wrap)
    except OSError as error:
        raise DoribError(
            f"the output cannot be written ({error.strerror or error}); free some space, or send "
            "it elsewhere"
        ) from error
