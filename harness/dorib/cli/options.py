"""The options that `dorib run` and `dorib locality` have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

METHOD = "NAME[:PARAMETER=VALUE,...]"

Suite: TypeAlias = Annotated[
    str | None, typer.Option(help="A registered name or a suite folder (default: tiny).")
]
Full: TypeAlias = Annotated[
    bool | None, typer.Option("--full/--quick", help="The suite's full or quick (default) profile.")
]
Device: TypeAlias = Annotated[
    str | None, typer.Option(help="For example cuda:0 (default: what there is).")
]
Dtype: TypeAlias = Annotated[
    str | None, typer.Option(help="float32, bfloat16 or float16 (default: float32).")
]
BatchSize: TypeAlias = Annotated[
    int | None, typer.Option(help="Items handled together (default: the suite's).")
]
GradientCheckpointing: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--gradient-checkpointing",
        help="Compute activations twice rather than keep them: searches take less memory.",
    ),
]
VaeSlicing: TypeAlias = Annotated[
    bool | None,
    typer.Option("--vae-slicing", help="Decode images one by one: it takes less memory."),
]
Offload: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--offload",
        help="Keep text encoders and autoencoder in the host's memory while they are not at work.",
    ),
]
Compile: TypeAlias = Annotated[
    bool | None, typer.Option("--compile", help="Compile the U-Net by torch.compile.")
]
Out: TypeAlias = Annotated[
    Path | None, typer.Option(help="Folder of the store and the results (default: dorib-out).")
]


def given(**options: Any) -> dict[str, Any]:
    """Those that were given; the budgets, which come as one text, in parts."""
    found = {name: value for name, value in options.items() if value is not None}
    if "budgets" in found:
        found["budgets"] = [part.strip() for part in found["budgets"].split(",")]
    return found
