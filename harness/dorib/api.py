"""What a notebook starts from: run, look at what a run left, and load a target model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeAlias, TypedDict, TypeVar, Unpack

from dorib.config import RunConfig, run_config
from dorib.contracts.specs import MethodSpec
from dorib.contracts.target_model import TargetModel
from dorib.host.registry import discover
from dorib.report.compare.comparison import Comparison
from dorib.report.compare.comparison import compare as compared_sides
from dorib.report.compare.strips import draw_comparison
from dorib.report.opened import Results, open_results
from dorib.reporting import Reporter
from dorib.suites.suite import Suite, load_suite
from dorib.validation import checked
from dorib.verbs.preparation.suite_model import load_target_model, pipeline_version, usable_device
from dorib.verbs.settings import Settings
from dorib.workers.start import run_shared

MethodLike: TypeAlias = str | dict[str, Any] | MethodSpec
"""`"wanda:sparsity=0.4"`, `{"name": "wanda", "sparsity": 0.4}`, or a spec."""
Methods: TypeAlias = MethodLike | Sequence[MethodLike]

P = ParamSpec("P")
R = TypeVar("R")


class RunOptions(TypedDict, total=False):
    """The options of `run`: those of the command line, by the same names."""

    suite: str | Path | Suite
    mitigation: Methods
    attack: Methods
    metric: Methods
    probe: Methods
    split: str
    full: bool
    seeds: int | None
    limit: int | None
    budgets: int | Sequence[int] | None
    device: str
    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    batch_size: int | None
    gradient_checkpointing: bool
    vae_slicing: bool
    offload: bool
    channels_last: bool
    compile: bool
    out: str | Path
    root_seed: int
    offline: bool
    workers: int | None
    ray: str | None


def _with_defaults(function: Callable[P, R]) -> Callable[P, R]:
    """Show the options and their defaults where `help` and notebooks look for them."""
    own = [p for p in signature(function).parameters.values() if p.kind is Parameter.KEYWORD_ONLY]
    defaults = signature(RunConfig).parameters
    options = [defaults[name] for name in RunOptions.__annotations__]
    # The checked types of a run file are not those that a caller may give.
    shown = Signature([p.replace(annotation=Parameter.empty) for p in (*options, *own)])
    function.__signature__ = shown  # type: ignore[attr-defined]
    return function


@_with_defaults
def run(
    *,
    config: str | Path | None = None,
    plugin: str | Path | Sequence[str | Path] = (),
    reporter: Reporter | None = None,
    **options: Unpack[RunOptions],
) -> Results:
    """Score mitigations against attacks, as `dorib run`; repeated, it goes on from what is stored.

    Args:
        config: a YAML run file or a preset; `options` win over it.
        plugin: plugins in single Python files, beside those installed.
        reporter: hears of the progress; None for a silent run.
        options: those of the command line, by the same names and with the same defaults:
            `suite`, `mitigation`, `attack`, `metric`, `full`, `limit`, `out`, ...

    Returns:
        What `open(out)` gives.

    Warns:
        RuntimeWarning: nothing came of a method; those that did not fail have their entries.

    Raises:
        DoribError: an option is unknown or wrong, or something else that the user can mend; raised
            before any work where it can be known.
    """
    file = None if config is None else Path(config)
    checked_options = run_config(dict(options), file, "dorib.run")
    named = [plugin] if isinstance(plugin, str | Path) else plugin
    files = [Path(file) for file in named]
    result = run_shared(checked_options, discover(files=files), reporter, files)
    for reason in result.failed:
        warnings.warn(f"failed: {reason}", RuntimeWarning, stacklevel=2)
    return open(checked_options.out)


def open(folder: str | Path) -> Results:
    """What a run left in `folder`, or a published leaderboard.

    Raises:
        DoribError: there are no results in it, a file is damaged, or the leaderboard does not
            follow from the entries.
    """
    return open_results(Path(folder))


def compare(
    first: str | Path | Results, second: str | Path | Results, *, strips: str | Path | None = None
) -> Comparison:
    """Hold two results against each other, sample by sample, as `dorib compare`.

    Args:
        first: what `open` gives, or takes; `"FOLDER#MITIGATION"`, a row of it; or an entry's file.
        second: the other side, likewise.
        strips: a folder that is not there yet, for pictures of both side by side.

    Returns:
        Each cell that both have: rates paired by sample, with intervals and p-values, what each
        sample did, and what differs in versions and settings. `model_dump()` is all of it.

    Raises:
        DoribError: a side cannot be read, or the two cannot be compared; gives the reason.
    """
    sides = (str(one.folder if isinstance(one, Results) else one) for one in (first, second))
    found = compared_sides(*sides)
    if strips is not None:
        draw_comparison(found, Path(strips))
    return found.comparison


def load_model(
    suite: str | Path | Suite,
    *,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
) -> TargetModel:
    """The target model of a suite as a run loads it, ready for a method's own test.

    Args:
        suite: a registered name, a suite folder, or what `load_suite` gives.
        device: a torch device; "auto" is the accelerator, where there is one, else the CPU.
        dtype: the model's number format; "auto" is bfloat16 on CUDA, float32 anywhere else.

    Raises:
        DoribError: there is no such suite or device, or the pipeline is missing or broken.
    """
    content = {"device": device, "dtype": dtype}
    settings = checked(Settings, content, "dorib.load_model", names="options")
    registry = discover()
    found = suite if isinstance(suite, Suite) else load_suite(suite, registry)
    return load_target_model(
        found, settings, usable_device(settings), registry, pipeline_version(found)
    )
