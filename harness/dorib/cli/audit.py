"""`dorib audit`: are these pictures still in this model?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dorib.cli.options import (
    PLUGIN,
    TRACEBACK,
    ModelOptions,
    WorkersOptions,
    method_option,
    place_option,
    with_options,
)
from dorib.cli.run import METHOD_FAILED

if TYPE_CHECKING:
    from rich.console import Console

    from dorib.audit.audit import Audition


class AuditOptions(ModelOptions, WorkersOptions, total=False):
    """The options of `dorib audit` that were given."""

    model: Annotated[
        str,
        typer.Argument(
            help="A diffusers folder, a hub id or a registered suite's name; with --original also "
            "whatever `-m checkpoint:path=...` reads."
        ),
    ]
    images: Annotated[Path, typer.Option(help="Folder of the pictures: PNG, JPEG or WebP.")]
    captions: Annotated[
        Path | None,
        typer.Option(
            help="A .jsonl or .csv with file_name and caption of each (default: metadata.jsonl "
            "among them)."
        ),
    ]
    original: Annotated[
        str | None,
        typer.Option(
            help="The model before it was mitigated: what of the pictures was in it, and attacks "
            "that start from it."
        ),
    ]
    controls: Annotated[
        Path | None,
        typer.Option(
            help="Folder of pictures that the model never saw, with a metadata.jsonl (default: "
            "drawn from the suite's controls)."
        ),
    ]
    suite: Annotated[
        str | None,
        typer.Option(
            help="Takes judge, size, steps, prompts, controls, budgets and attacks from it "
            "(default: MODEL or --original, where it names one)."
        ),
    ]
    metric: Annotated[
        list[str] | None,
        method_option(help="Says what a copy is, in place of the suite's descriptor."),
    ]
    attack: Annotated[
        list[str] | None,
        method_option(
            "--attack", "-a", help="An attack in place of the required ones; repeat it for several."
        ),
    ]
    probe: Annotated[
        list[str] | None, method_option(help="A probe in place of all; repeat it for several.")
    ]
    size: Annotated[
        str | None,
        typer.Option(
            metavar="PIXELS",
            help="What the model draws, a side or HEIGHTxWIDTH (default: the suite's, or what the "
            "model is made for).",
        ),
    ]
    steps: Annotated[int | None, typer.Option(help="Sampling steps (default: the suite's, or 50).")]
    guidance_scale: Annotated[
        float | None, typer.Option(help="Guidance (default: the suite's, or 7.5).")
    ]
    out: Annotated[
        Path | None,
        place_option(help="Folder of the store and the results (default: dorib-audit)."),
    ]
    plugin: Annotated[list[Path] | None, PLUGIN]
    traceback: Annotated[bool | None, TRACEBACK]


@with_options(AuditOptions)
def audit(options: AuditOptions) -> None:
    """Are these pictures still in MODEL? A line for each, and a page; MODEL is left as it is."""
    from dorib.audit.audit import audit as look
    from dorib.cli import progress, terminal
    from dorib.host.registry import discover

    given: dict[str, Any] = {**options}
    tracebacks = bool(given.pop("traceback", False))
    plugins = given.pop("plugin", ())
    with progress.reporter_for(terminal.progress_console(), tracebacks=tracebacks) as reporter:
        found = look(given, discover(files=plugins), reporter, plugins)
    _show(found, terminal.results_console())
    if found.answer.failed:
        raise typer.Exit(METHOD_FAILED)


def _show(found: Audition, console: Console) -> None:
    from dorib.cli import terminal

    answer = found.answer
    terminal.say(console, "", *answer.lines, "", answer.totals, "")
    terminal.say(console, *(f"failed: {reason}" for reason in answer.failed))
    terminal.say(console, *answer.meaning, "", f"page  {found.page}")
