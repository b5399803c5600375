"""`dorib export`: an edit or the triggers of a run, as other programs load them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dorib.cli.options import quiet_libraries
from dorib.errors import DoribError


class FormName(StrEnum):
    """In what form an edit is written."""

    UNET = "unet"
    LORA = "lora"
    SAFETENSORS = "safetensors"
    PIPELINE = "pipeline"


def export(
    out: Annotated[Path, typer.Argument(help="What `dorib run --out` wrote.")],
    mitigation: Annotated[
        str, typer.Option("--mitigation", "-m", help="Its label in that run, with its parameters.")
    ],
    attack: Annotated[
        str | None,
        typer.Option(
            "--attack", "-a", help="An attack's label: what it found there, in place of the edit."
        ),
    ] = None,
    form: Annotated[
        FormName | None,
        typer.Option(
            help="Of an edit: a U-Net's folder, a LoRA (and PEFT's adapters), the changed tensors "
            "as safetensors, or a whole pipeline (default: what suits it)."
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="A folder that is not there yet (default: one in OUT).")
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="The run's suite, where it is none of the registered ones.")
    ] = None,
) -> None:
    """Write an edit of a run as weights, or an attack's triggers, with a README."""
    quiet_libraries()
    from dorib.cli import terminal
    from dorib.report.export.export import export_edit, export_triggers
    from dorib.report.export.weights import FORMS

    progress = terminal.progress_console()

    def note(text: str) -> None:
        terminal.say(progress, text)

    if attack is None:
        asked = next((one for one in FORMS if one == form), None)
        folder = export_edit(out, mitigation, note, form=asked, to=to, suite=suite)
    elif form is not None:
        raise DoribError(
            f"--form {form.value}: is how an edit is written, and with --attack it is triggers "
            "that are exported; leave one of them out"
        )
    else:
        folder = export_triggers(out, mitigation, attack, note, to=to)
    terminal.say(terminal.results_console(), str(folder))
