"""Options that several commands take, each written once, and commands made from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, TypedDict, TypeVar, get_args, get_type_hints

import typer

METHOD = "NAME[:PARAMETER=VALUE,...]"


def place_option(*names: str, help: str) -> Any:
    """A Typer option that names where something is written; an empty text names nothing."""
    return typer.Option(*names, parser=_place, metavar="PATH", help=help)


def _place(text: str) -> Path:
    if not text:
        raise typer.BadParameter("is empty; name a folder")
    return Path(text)


class ModelOptions(TypedDict, total=False):
    """What every command takes that runs a model; holds those that were given."""

    full: Annotated[
        bool | None,
        typer.Option("--full/--quick", help="The suite's full or quick (default) profile."),
    ]
    seeds: Annotated[
        int | None,
        typer.Option(help="Evaluation images per sample and trigger, in place of the profile's."),
    ]
    budgets: Annotated[
        str | None,
        typer.Option(
            metavar="INTEGER,...",
            help="Search work per sample in U-Net items, rising; in place of the profile's.",
        ),
    ]
    device: Annotated[str | None, typer.Option(help="For example cuda:0 (default: what there is).")]
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32, bfloat16 or float16 (default: bfloat16 on CUDA, else float32)."
        ),
    ]
    batch_size: Annotated[
        int | None, typer.Option(help="Items handled together (default: the suite's).")
    ]
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--gradient-checkpointing",
            help="Compute activations twice rather than keep them: searches take less memory.",
        ),
    ]
    vae_slicing: Annotated[
        bool | None,
        typer.Option("--vae-slicing", help="Decode images one by one: it takes less memory."),
    ]
    offload: Annotated[
        bool | None,
        typer.Option(
            "--offload",
            help="Keep text encoders and autoencoder in the host's memory while they are not at "
            "work.",
        ),
    ]
    channels_last: Annotated[
        bool | None,
        typer.Option(
            "--channels-last", help="Lay out the U-Net's convolutions with the channels last."
        ),
    ]
    compile: Annotated[
        bool | None, typer.Option("--compile", help="Compile the U-Net by torch.compile.")
    ]
    root_seed: Annotated[
        int | None, typer.Option(help="What all randomness is derived from (default: 0).")
    ]
    offline: Annotated[
        bool | None,
        typer.Option(
            "--offline",
            help="Open no connection: fail before any work, naming what is missing and what brings "
            "it.",
        ),
    ]


class SharedOptions(ModelOptions, total=False):
    """What every command takes that runs a suite's model; holds those that were given.

    A command's own options stand in a subclass.
    """

    suite: Annotated[
        str | None, typer.Option(help="A registered name or a suite folder (default: tiny).")
    ]
    split: Annotated[
        str | None, typer.Option(help="Which samples: tune on dev, report test (default: test).")
    ]
    out: Annotated[
        Path | None, place_option(help="Folder of the store and the results (default: dorib-out).")
    ]


class WorkersOptions(TypedDict, total=False):
    """What commands take whose work may be shared; holds those that were given."""

    workers: Annotated[
        int | None,
        typer.Option(
            help="Share the work among so many processes, a GPU each where there are GPUs; needs "
            "dorib[cluster]."
        ),
    ]
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Workers on a running Ray cluster, 'auto' for the one that this machine is part "
            "of; by default as many as it has GPUs, or else processors.",
        ),
    ]


PLUGIN = typer.Option(
    "--plugin", help="A plugin in a single Python file, beside those installed; repeatable."
)
TRACEBACK = typer.Option("--traceback", help="Print where a plugin that fails did so.")

GivenOptions = TypeVar("GivenOptions", bound=ModelOptions)


def method_option(*names: str, help: str) -> Any:
    """A Typer option whose value names a method, with its parameters.

    Args:
        names: `--mitigation`, `-m`; none: the name of the option's entry.
        help: what `--help` says of it.
    """
    return typer.Option(*names, metavar=METHOD, help=help)


def with_options(
    options: type[GivenOptions],
) -> Callable[[Callable[[GivenOptions], None]], Callable[..., None]]:
    """Make a Typer command from a function of one mapping: the options that were given.

    Args:
        options: `SharedOptions` or a subclass; each entry is annotated as one of Typer's options
            or arguments, and must be given where None is not among its values. Its own options
            are listed ahead of the shared.
    """
    hints = get_type_hints(options, include_extras=True)
    shared, of_model = SharedOptions.__annotations__, ModelOptions.__annotations__
    own_first = sorted(hints, key=lambda name: (name in shared) + (name in of_model))
    parameters = [
        Parameter(
            name, Parameter.KEYWORD_ONLY, default=_default(hints[name]), annotation=hints[name]
        )
        for name in own_first
    ]

    def decorate(function: Callable[[GivenOptions], None]) -> Callable[..., None]:
        @wraps(function)
        def command(**typed: Any) -> None:
            quiet_libraries()
            function(_given(typed))  # type: ignore[arg-type]

        # Typer reads both.
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = hints
        return command

    return decorate


def _default(hint: Any) -> Any:
    """None where that stands for an option that was not given, else nothing."""
    values, *_ = get_args(hint)
    return None if type(None) in get_args(values) else Parameter.empty


def _given(typed: dict[str, Any]) -> dict[str, Any]:
    """Those that were given; the budgets, which come as one text, in parts."""
    found = {name: value for name, value in typed.items() if value is not None}
    if "budgets" in found:
        found["budgets"] = [part.strip() for part in found["budgets"].split(",")]
    return found


def quiet_libraries() -> None:
    """Their progress bars and hints would stand between ours; errors still come through."""
    for name, value in {
        "DIFFUSERS_VERBOSITY": "error",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }.items():
        os.environ.setdefault(name, value)
