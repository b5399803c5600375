"""`dorib reproduce`: an entry's run done again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dorib.cli.options import PLUGIN, place_option, quiet_libraries
from dorib.cli.published.verify import NOT_SO, TOLERANCE, check_tolerance

SHOWN = 20
"""Numbers that differ are named up to here."""


def reproduce(
    entry: Annotated[Path, typer.Argument(help="The JSON file of an entry.")],
    out: Annotated[Path, place_option(help="The run's folder.")] = Path("dorib-reproduced"),
    suite: Annotated[
        str | None, typer.Option(help="The suite, where it is none of the registered ones.")
    ] = None,
    device: Annotated[str, typer.Option(help="For example cuda:0.")] = "auto",
    tolerance: Annotated[float | None, TOLERANCE] = None,
    write_only: Annotated[
        bool, typer.Option("--write-only", help="Write OUT/run.yaml and run nothing.")
    ] = False,
    plugin: Annotated[list[Path] | None, PLUGIN] = None,
) -> None:
    """Write an entry's run file, run it, and compare the two number by number."""
    quiet_libraries()
    from dorib.cli import progress, terminal
    from dorib.host.registry import discover
    from dorib.replay import reproducing

    check_tolerance(tolerance)
    console = terminal.results_console()
    registry = discover(files=plugin or ())
    if write_only:
        terminal.say(console, str(reproducing.write_run_file(entry, out, registry, suite)))
        return
    with progress.reporter_for(terminal.progress_console()) as reporter:
        found = reproducing.reproduce(
            entry,
            out,
            registry,
            reporter,
            suite=suite,
            device=device,
            tolerance=tolerance,
        )
    lines = [f"{one.outcome.words}: {one.what}" for one in found.differing]
    if len(lines) > SHOWN:
        lines = [*lines[:SHOWN], f"and {len(lines) - SHOWN} more"]
    label = f"{found.entry.mitigation.label} x {found.entry.attack.label}"
    machine = "as the entry's" if found.same_machine else "another than the entry's"
    terminal.say(
        console,
        *lines,
        f"{found.outcome.words}: {label}, {found.compared} numbers, {len(found.differing)} differ; "
        f"machine and versions {machine}",
        f"run file  {found.run_file}",
    )
    if found.outcome.is_lie:
        raise typer.Exit(NOT_SO)
