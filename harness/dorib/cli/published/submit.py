"""`dorib submit`: a row as a folder ready for a pull request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dorib.cli.options import PLUGIN, place_option, quiet_libraries


def submit(
    out: Annotated[Path, typer.Argument(help="What `dorib run --out` wrote.")],
    mitigation: Annotated[
        str, typer.Option("--mitigation", "-m", help="Its label in that run, with its parameters.")
    ],
    to: Annotated[
        Path | None, place_option(help="A folder that is not there yet (default: one in OUT).")
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(help="YAML file with the method's card, where its plugin brings none."),
    ] = None,
    hub: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="Where on the Hugging Face hub witnesses will be that are too large for git.",
        ),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="The run's suite, where it is none of the registered ones.")
    ] = None,
    plugin: Annotated[list[Path] | None, PLUGIN] = None,
) -> None:
    """Write a row with its witnesses, card and environment, and the text of its pull request."""
    quiet_libraries()
    from dorib.cli import terminal
    from dorib.host.registry import discover
    from dorib.replay import submitting

    progress = terminal.progress_console()

    def note(text: str) -> None:
        terminal.say(progress, text)

    registry = discover(files=plugin or ())
    found = submitting.submit(
        out, mitigation, registry, note, to=to, card=card, hub=hub, suite=suite
    )
    terminal.say(
        terminal.results_console(), f"submission    {found.folder}", f"pull request  {found.text}"
    )
