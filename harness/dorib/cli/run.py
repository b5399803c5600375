"""`dorib run`: from options to a finished run and its table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dorib.cli.options import (
    PLUGIN,
    TRACEBACK,
    SharedOptions,
    WorkersOptions,
    method_option,
    with_options,
)
from dorib.errors import DoribError

if TYPE_CHECKING:
    from dorib.config import RunConfig


METHOD_FAILED = 1
"""Exit code of a run in which a method failed altogether; the others have their rows."""


class RunCommandOptions(SharedOptions, WorkersOptions, total=False):
    """The options of `dorib run` that were given."""

    mitigation: Annotated[
        list[str] | None,
        method_option(
            "--mitigation",
            "-m",
            help="A mitigation, for example wanda:sparsity=0.02; repeat it for several, 'all' for "
            "every one. 'none' and the suite's oracle are always run.",
        ),
    ]
    attack: Annotated[
        list[str] | None,
        method_option(
            "--attack",
            "-a",
            help="An attack; repeat it for several, 'all' for every one, 'required' for those that "
            "ranks take. 'none' is always run.",
        ),
    ]
    metric: Annotated[
        list[str] | None,
        method_option(help="A metric in place of sscd and clip; repeat it for several."),
    ]
    probe: Annotated[
        list[str] | None,
        method_option(
            help="A probe, which tells memorized samples from controls without an image; repeat it "
            "for several, 'all' for every one."
        ),
    ]
    limit: Annotated[
        int | None, typer.Option(help="At most so many memorized samples, and so many controls.")
    ]
    plan: Annotated[
        bool | None,
        typer.Option(
            "--plan",
            help="Compute nothing: show what the run would take, and which rows it would rank. How "
            "fast this machine is is measured once and kept in --out.",
        ),
    ]
    json: Annotated[bool | None, typer.Option("--json", help="With --plan: as a JSON value.")]
    plugin: Annotated[list[Path] | None, PLUGIN]
    traceback: Annotated[bool | None, TRACEBACK]
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML file, or a preset (finding-dori, tiny), with any of these options by name; "
            "those given here win over it."
        ),
    ]


@with_options(RunCommandOptions)
def run(options: RunCommandOptions) -> None:
    """Score mitigations against attacks; stopped or repeated, it goes on from what is stored."""
    from dorib.config import run_config

    given: dict[str, Any] = {**options}
    tracebacks = bool(given.pop("traceback", False))
    file = given.pop("config", None)
    plugins = given.pop("plugin", ())
    plan, as_json = bool(given.pop("plan", False)), bool(given.pop("json", False))
    if as_json and not plan:
        raise DoribError("--json: goes with --plan; give both, or read OUT/leaderboard.json")
    config = run_config(given, file)
    if plan:
        _plan(config, plugins, as_json=as_json)
    else:
        _run(config, plugins, tracebacks=tracebacks)


def _plan(config: RunConfig, plugins: Sequence[Path], *, as_json: bool) -> None:
    from dorib import runner
    from dorib.cli import progress, terminal
    from dorib.cli.ahead.shown import show_plan
    from dorib.host.registry import discover

    with progress.reporter_for(terminal.progress_console()) as reporter:
        plan = runner.plan(config, discover(files=plugins), reporter)
    if as_json:
        terminal.show_json(plan.model_dump(mode="json"))
    else:
        show_plan(plan, terminal.results_console())


def _run(config: RunConfig, plugins: Sequence[Path], *, tracebacks: bool) -> None:
    from dorib.cli import display, progress, terminal
    from dorib.host.registry import discover
    from dorib.workers.start import run_shared

    with progress.reporter_for(terminal.progress_console(), tracebacks=tracebacks) as reporter:
        result = run_shared(config, discover(files=plugins), reporter, plugins)
    display.show_result(result, terminal.results_console())
    if result.failed:
        raise typer.Exit(METHOD_FAILED)
