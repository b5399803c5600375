"""`dorib locality`: from options to findings, their figures and their page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dorib import SharedOptions, method_option, with_options

if TYPE_CHECKING:
    from dorib_locality.locality_config import LocalityConfig


class LocalityOptions(SharedOptions, total=False):
    """The options of `dorib locality` that were given."""

    mitigation: Annotated[
        list[str] | None,
        method_option(
            "--mitigation",
            "-m",
            help="A per-sample mitigation whose picks are compared, for example "
            "wanda:scope=per_sample,sparsity=0.2; repeat it for several (default: no picks).",
        ),
    ]
    attack: Annotated[
        str | None,
        method_option(
            "--attack", "-a", help="What finds the triggers (default: dori:start=random)."
        ),
    ]
    starts: Annotated[
        int | None,
        typer.Option(
            help="Searches for each image: the first at --root-seed, each next at 1 more."
        ),
    ]
    limit: Annotated[int | None, typer.Option(help="At most so many images (default: 6).")]
    noises: Annotated[
        int | None, typer.Option(help="Starting latents that activations are averaged over.")
    ]
    timesteps: Annotated[
        int | None, typer.Option(help="Sampling steps at which activations are compared.")
    ]
    reduction: Annotated[
        str | None,
        typer.Option(help="Over tokens: mean (default), or mean_absolute as NeMo's statistic."),
    ]
    metric: Annotated[
        str | None,
        method_option(help="What tells whether an image replicates (default: sscd)."),
    ]


@with_options(LocalityOptions)
def locality(options: LocalityOptions) -> None:
    """Ask whether the triggers of one image share a place: embeddings, activations, weights."""
    from dorib import checked
    from dorib_locality.locality_config import LocalityConfig

    _study(checked(LocalityConfig, options, "command line", names="options"))


def _study(config: LocalityConfig) -> None:
    from dorib import progress_console, reporter_for, results_console, say
    from dorib_locality.study import study

    with reporter_for(progress_console()) as reporter:
        result = study(config, reporter=reporter)
    found = result.findings
    hits = sum(trigger.replicates for trigger in found.triggers)
    lines = [
        "",
        f"{hits} of {len(found.triggers)} triggers are successful; the figures show "
        f"{'these' if found.successful else 'all, since too few are'}",
        *([f"{len(found.failures)} searches or fits failed"] if found.failures else []),
        "",
        f"page     {result.page}",
        f"figures  {result.folder}/*.svg, *.png",
        f"numbers  {result.json}",
    ]
    say(results_console(), *lines)
