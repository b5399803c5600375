"""`dorib locality`: from options to a report, its figures and its page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dorib.cli import options as cli_options
from dorib.cli.run import quiet_libraries

if TYPE_CHECKING:
    from dorib_locality.config import LocalityConfig


def locality(
    mitigation: Annotated[
        list[str] | None,
        typer.Option(
            "--mitigation",
            "-m",
            metavar=cli_options.METHOD,
            help="A per-sample mitigation whose picks are compared, for example "
            "wanda:scope=per_sample,sparsity=0.2; repeat it for several (default: no picks).",
        ),
    ] = None,
    attack: Annotated[
        str | None,
        typer.Option(
            "--attack",
            "-a",
            metavar=cli_options.METHOD,
            help="What finds the triggers (default: dori:start=random).",
        ),
    ] = None,
    starts: Annotated[
        int | None, typer.Option(help="Searches for each image, from starts of their own.")
    ] = None,
    suite: cli_options.Suite = None,
    split: Annotated[str | None, typer.Option(help="Which samples (default: test).")] = None,
    full: cli_options.Full = None,
    seeds: Annotated[
        int | None,
        typer.Option(help="Images that a trigger is judged by, in place of the profile's."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many images (default: 6).")] = None,
    budgets: Annotated[
        str | None,
        typer.Option(
            metavar="INTEGER,...",
            help="Search work per trigger in U-Net items, rising; triggers of the largest are "
            "compared.",
        ),
    ] = None,
    noises: Annotated[
        int | None, typer.Option(help="Starting latents that activations are averaged over.")
    ] = None,
    timesteps: Annotated[
        int | None, typer.Option(help="Sampling steps at which activations are compared.")
    ] = None,
    reduction: Annotated[
        str | None,
        typer.Option(help="Over tokens: mean (default), or mean_absolute as NeMo's statistic."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar=cli_options.METHOD,
            help="What tells whether an image replicates (default: sscd).",
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
        int | None, typer.Option(help="That of the first start; each further one adds 1.")
    ] = None,
) -> None:
    """Ask whether the triggers of one image share a place: embeddings, activations, weights."""
    given = cli_options.given(
        mitigation=mitigation,
        attack=attack,
        starts=starts,
        suite=suite,
        split=split,
        full=full,
        seeds=seeds,
        limit=limit,
        budgets=budgets,
        noises=noises,
        timesteps=timesteps,
        reduction=reduction,
        metric=metric,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        gradient_checkpointing=gradient_checkpointing,
        vae_slicing=vae_slicing,
        offload=offload,
        compile=compile,
        out=out,
        root_seed=root_seed,
    )
    from dorib_locality.config import make_locality_config

    _study(make_locality_config(given))


def _study(config: LocalityConfig) -> None:
    from rich.console import Console

    from dorib.cli import progress
    from dorib.host.registry import discover

    quiet_libraries()
    from dorib_locality.study import study

    console = Console(highlight=False)
    with progress.reporter_for(console) as reporter:
        result = study(config, discover(), reporter)
    report = result.report
    hits = sum(trigger.replicates for trigger in report.triggers)
    lines = [
        "",
        f"{hits} of {len(report.triggers)} triggers are successful; the figures show "
        f"{'these' if report.successful else 'all, since too few are'}",
        *([f"{len(report.failures)} searches or fits failed"] if report.failures else []),
        "",
        f"page     {result.page}",
        f"figures  {result.folder}/*.svg, *.png",
        f"numbers  {result.json}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
