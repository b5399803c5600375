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
    witnesses: Annotated[
        bool,
        typer.Option(
            "--witnesses",
            help="Write edits and triggers as well, from which others replay the entries.",
        ),
    ] = False,
    hub: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="Where on the Hugging Face hub those will be that are too large to be published.",
        ),
    ] = None,
) -> None:
    """Make entries, leaderboard, records and pictures anew from a store: no GPU, no model."""
    quiet_libraries()
    from dorib.cli import display, terminal
    from dorib.report.board.again import report_again
    from dorib.report.witnesses.writing import write_witnesses
    from dorib.store.files import named_write_errors

    progress = terminal.progress_console()

    def note(text: str) -> None:
        terminal.say(progress, text)

    result = report_again(out, note, board)
    if witnesses:
        with named_write_errors(out, None):
            write_witnesses(out, note, hub=hub)
    display.show_result(result, terminal.results_console())
