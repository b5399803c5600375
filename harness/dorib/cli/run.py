"""`dorib run`: from options to a finished run and its table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dorib.cli import options as cli_options

if TYPE_CHECKING:
    from dorib.config import RunConfig


def run(
    mitigation: Annotated[
        list[str] | None,
        typer.Option(
            "--mitigation",
            "-m",
            metavar=cli_options.METHOD,
            help="A mitigation, for example wanda:sparsity=0.02; repeat it for several, 'all' for "
            "every one. 'none' and the suite's oracle are always run.",
        ),
    ] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            "--attack",
            "-a",
            metavar=cli_options.METHOD,
            help="An attack; repeat it for several, 'all' for every one, 'required' for those that "
            "ranks take. 'none' is always run.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar=cli_options.METHOD,
            help="A metric in place of sscd and clip; repeat it for several.",
        ),
    ] = None,
    suite: cli_options.Suite = None,
    split: Annotated[
        str | None, typer.Option(help="Which samples: tune on dev, report test (default: test).")
    ] = None,
    full: cli_options.Full = None,
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
    device: cli_options.Device = None,
    dtype: cli_options.Dtype = None,
    batch_size: cli_options.BatchSize = None,
    gradient_checkpointing: cli_options.GradientCheckpointing = None,
    vae_slicing: cli_options.VaeSlicing = None,
    offload: cli_options.Offload = None,
    compile: cli_options.Compile = None,
    out: cli_options.Out = None,
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
    given = cli_options.given(
        mitigation=mitigation,
        attack=attack,
        metric=metric,
        suite=suite,
        split=split,
        full=full,
        seeds=seeds,
        limit=limit,
        budgets=budgets,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        gradient_checkpointing=gradient_checkpointing,
        vae_slicing=vae_slicing,
        offload=offload,
        compile=compile,
        out=out,
        root_seed=root_seed,
        offline=offline,
    )
    _run(_checked(given, config))


def _checked(given: dict[str, Any], file: Path | None) -> RunConfig:
    from dorib.config import make_config, read_config

    return read_config(file, given) if file else make_config(given)


def _run(config: RunConfig) -> None:
    from dorib.cli import display, progress, terminal
    from dorib.host.registry import discover

    quiet_libraries()
    from dorib import runner

    with progress.reporter_for(terminal.progress()) as reporter:
        result = runner.run(config, discover(), reporter)
    display.show_result(result, terminal.results())


def quiet_libraries() -> None:
    """Their progress bars and hints would stand between ours; errors still come through."""
    for name, value in {
        "DIFFUSERS_VERBOSITY": "error",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }.items():
        os.environ.setdefault(name, value)
