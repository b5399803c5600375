"""`dorib run`: from options to a finished run and its table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dorib.config import RunConfig


def run(
    mitigation: Annotated[
        list[str] | None,
        typer.Option(
            "--mitigation",
            "-m",
            metavar="NAME[:PARAMETER=VALUE,...]",
            help="A mitigation, for example wanda:sparsity=0.02; repeat it for several, 'all' for "
            "every one. 'none' and the suite's oracle are always run.",
        ),
    ] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            "--attack",
            "-a",
            metavar="NAME[:PARAMETER=VALUE,...]",
            help="An attack; repeat it for several, 'all' for every one. 'none' is always run.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:PARAMETER=VALUE,...]",
            help="A metric in place of sscd and clip; repeat it for several.",
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="A registered name or a suite folder (default: tiny)."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Which samples: tune on dev, report test (default: test).")
    ] = None,
    full: Annotated[
        bool | None,
        typer.Option("--full/--quick", help="The suite's full or quick (default) profile."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Evaluation images per sample, in place of the profile's.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="At most so many memorized samples, and so many controls.")
    ] = None,
    budgets: Annotated[
        str | None,
        typer.Option(
            metavar="INTEGER,...",
            help="Search work per sample in U-Net items, rising; in place of the profile's.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="For example cuda:0 (default: what there is)."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16 (default: float32).")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Items handled together (default: the suite's).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the store and the results (default: dorib-out).")
    ] = None,
    root_seed: Annotated[
        int | None, typer.Option(help="What all randomness is derived from (default: 0).")
    ] = None,
    offline: Annotated[
        bool | None,
        typer.Option(
            "--offline",
            help="Open no connection: fail before any work, naming what is missing and what brings "
            "it.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML file, or the preset finding-dori, with any of these options by name; those "
            "given here win over it."
        ),
    ] = None,
) -> None:
    """Score mitigations against attacks; stopped or repeated, it goes on from what is stored."""
    given = {
        "mitigation": mitigation,
        "attack": attack,
        "metric": metric,
        "suite": suite,
        "split": split,
        "full": full,
        "seeds": seeds,
        "limit": limit,
        "budgets": None if budgets is None else [part.strip() for part in budgets.split(",")],
        "device": device,
        "dtype": dtype,
        "batch_size": batch_size,
        "out": out,
        "root_seed": root_seed,
        "offline": offline,
    }
    _run(_checked({name: value for name, value in given.items() if value is not None}, config))


def _checked(given: dict[str, Any], file: Path | None) -> RunConfig:
    from dorib.config import make_config, read_config

    return read_config(file, given) if file else make_config(given)


def _run(config: RunConfig) -> None:
    from rich.console import Console

    from dorib import display, progress
    from dorib.registry import discover

    quiet_libraries()
    from dorib import runner

    console = Console(highlight=False)
    with progress.reporter_for(console) as reporter:
        result = runner.run(config, discover(), reporter)
    display.show_result(result, console)


def quiet_libraries() -> None:
    """Their progress bars and hints would stand between ours; errors still come through."""
    for name, value in {
        "DIFFUSERS_VERBOSITY": "error",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }.items():
        os.environ.setdefault(name, value)
