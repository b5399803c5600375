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
    note: Annotated[
        str, typer.Option(help="Beside --by: what is to be told of these rows, a line.")
    ] = "",
) -> None:
    """Write the web pages of a run, or of published leaderboards, beside their JSON."""
    from dorib.cli import terminal
    from dorib.errors import DoribError
    from dorib.report.site.pages import write_site

    if note and by is None:
        raise DoribError("--note: is told of rows that --by records; name yourself by --by")
    terminal.say(terminal.results_console(), *map(str, write_site(folder, by=by, note=note)))
