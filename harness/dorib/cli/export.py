"""`dorib export`: an edit, the triggers or the tables of a run, as other programs load them."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dorib.cli.options import place_option, quiet_libraries
from dorib.errors import DoribError


class FormName(StrEnum):
    """In what form an edit is written."""

    UNET = "unet"
    LORA = "lora"
    SAFETENSORS = "safetensors"
    PIPELINE = "pipeline"


def export(
    out: Annotated[
        Path,
        typer.Argument(
            help="What `dorib run --out` wrote; of tables, a published leaderboard too."
        ),
    ],
    mitigation: Annotated[
        str | None,
        typer.Option(
            "--mitigation",
            "-m",
            help="Its label in that run, with its parameters: the edit is exported.",
        ),
    ] = None,
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
    csv: Annotated[
        bool, typer.Option("--csv", help="The leaderboard as a CSV file, a line for each cell.")
    ] = False,
    latex: Annotated[
        bool, typer.Option("--latex", help="The leaderboard as a LaTeX table for a paper.")
    ] = False,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Leaderboard and records as Parquet files.")
    ] = False,
    hf: Annotated[
        bool,
        typer.Option(
            "--hf",
            help="Pictures, records and leaderboard for `datasets.load_dataset`, with a card.",
        ),
    ] = False,
    board: Annotated[
        bool,
        typer.Option(
            "--board",
            help="The board as it is published: entries, witnesses, and those pictures whose "
            "licences allow it, with their credits.",
        ),
    ] = False,
    to: Annotated[
        Path | None, place_option(help="A folder that is not there yet (default: one in OUT).")
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="The run's suite, where it is none of the registered ones.")
    ] = None,
) -> None:
    """Write an edit of a run as weights, an attack's triggers, or the leaderboard as tables."""
    quiet_libraries()
    asked = {"csv": csv, "latex": latex, "parquet": parquet, "hf": hf}
    tables = [name for name, wanted in asked.items() if wanted]
    if tables or board:
        first = f"--{tables[0]}" if tables else "--board"
        _refuse_beside_tables(first, mitigation, attack, form)
        if tables and board:
            raise DoribError(f"--board: is a folder of its own; leave {first} out")
        _export_board(out, to, suite) if board else _export_tables(out, tables, to, suite)
        return
    if mitigation is None:
        raise DoribError(
            "export: nothing is asked for; give --mitigation for its edit, with --attack what that "
            f"found, tables by {', '.join(f'--{name}' for name in asked)}, or all by --board"
        )
    from dorib.cli import terminal
    from dorib.report.export.export import export_edit, export_triggers
    from dorib.report.export.weights import FORMS

    if attack is None:
        weights = next((one for one in FORMS if one == form), None)
        folder = export_edit(out, mitigation, _note, form=weights, to=to, suite=suite)
    elif form is not None:
        raise DoribError(
            f"--form {form.value}: is how an edit is written, and with --attack it is triggers "
            "that are exported; leave one of them out"
        )
    else:
        folder = export_triggers(out, mitigation, attack, _note, to=to)
    terminal.say(terminal.results_console(), str(folder))


def _refuse_beside_tables(
    table: str, mitigation: str | None, attack: str | None, form: FormName | None
) -> None:
    others = {"--mitigation": mitigation, "--attack": attack, "--form": form}
    for option, value in others.items():
        if value is not None:
            raise DoribError(
                f"{option}: is of an edit or of triggers, and {table} of the whole leaderboard; "
                "leave one of them out"
            )


def _export_tables(out: Path, asked: Collection[str], to: Path | None, suite: str | None) -> None:
    from dorib.cli import terminal
    from dorib.report.export.tables import TABLE_FORMS, export_tables

    forms = [form for form in TABLE_FORMS if form in asked]
    folder = export_tables(out, forms, to=to, suite=suite, note=_note)
    terminal.say(terminal.results_console(), str(folder))


def _export_board(out: Path, to: Path | None, suite: str | None) -> None:
    from dorib.cli import terminal
    from dorib.report.export.published import export_board

    folder = export_board(out, _note, to=to, suite=suite)
    terminal.say(terminal.results_console(), str(folder))


def _note(text: str) -> None:
    from dorib.cli import terminal

    terminal.say(terminal.progress_console(), text)
