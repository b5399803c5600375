"""`dorib report`: what a run leaves for readers, made anew from its store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dorib.cli.options import quiet_libraries


def report(
    out: Annotated[
        Path,
        typer.Argument(help="What `dorib run --out` wrote, or a folder with a copy of its store."),
    ] = Path("dorib-out"),
    board: Annotated[
        str | None,
        typer.Option(help="Which board, where the store holds several: how its name begins."),
    ] = None,
) -> None:
    """Make entries, leaderboard, records and pictures anew from a store: no GPU, no model."""
    quiet_libraries()
    from dorib.cli import display, terminal
    from dorib.report.board.again import report_again

    progress = terminal.progress_console()

    def note(text: str) -> None:
        terminal.say(progress, text)

    display.show_result(report_again(out, note, board), terminal.results_console())
