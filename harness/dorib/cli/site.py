"""`dorib site`: web pages of leaderboards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def site(
    folder: Annotated[
        Path,
        typer.Argument(help="What `dorib run --out` wrote, or a folder of several such."),
    ] = Path("dorib-out"),
    by: Annotated[
        str | None,
        typer.Option(help="Record rows that are new or changed, today, under this name."),
    ] = None,
) -> None:
    """Write the web pages of a run, or of published leaderboards, beside their JSON."""
    from dorib.cli import terminal
    from dorib.report.site.pages import write_site

    terminal.say(terminal.results_console(), *map(str, write_site(folder, by=by)))
