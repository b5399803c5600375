"""Triggers: what an attack found for one sample at one budget; the witness of a row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dorib.errors import DoribError
from dorib.reprs import own_fields


@dataclass(frozen=True)
class Trigger:
    """A way to ask the model for one sample's image.

    Either `embeddings` (named tensors without a batch axis; `prompt_embeds` is
    `[tokens, width]`, on the CPU) or a `prompt` in words.
    """

    sample: str
    budget: int
    """The work the search was allowed for this sample, in U-Net items, all restarts together."""
    restart: int = 0
    embeddings: Mapping[str, Tensor] = field(default_factory=dict)
    prompt: str | None = None
    loss: float | None = None
    """The search loss by which restarts are compared; lower is better, and NaN worst of all."""
    trace: tuple[float, ...] = ()
    """The search loss at each step so far."""
    work: int = 0
    """Work spent on this sample up to this trigger, in U-Net items, all restarts together."""

    __repr__ = own_fields

    def __post_init__(self) -> None:
        if bool(self.embeddings) == (self.prompt is not None):
            raise ValueError("a trigger is either embeddings or a prompt")


def save_trigger(trigger: Trigger, folder: Path) -> None:
    """Write `trigger.json` and, for embeddings, `trigger.safetensors` into `folder`."""
    if trigger.embeddings:
        tensors = {k: v.detach().cpu().contiguous() for k, v in trigger.embeddings.items()}
        save_file(tensors, folder / "trigger.safetensors")
    description = {
        "sample": trigger.sample,
        "budget": trigger.budget,
        "restart": trigger.restart,
        "prompt": trigger.prompt,
        "loss": trigger.loss,
        "trace": list(trigger.trace),
        "work": trigger.work,
    }
    (folder / "trigger.json").write_text(json.dumps(description, sort_keys=True) + "\n")


def load_trigger(folder: Path | str) -> Trigger:
    """Read a trigger that `save_trigger` wrote.

    Raises:
        DoribError: the folder holds no readable trigger.
    """
    folder = Path(folder)
    try:
        description = json.loads((folder / "trigger.json").read_text())
        tensors = folder / "trigger.safetensors"
        embeddings = load_file(tensors) if tensors.exists() else {}
        description["trace"] = tuple(description["trace"])
        return Trigger(embeddings=embeddings, **description)
    except (OSError, TypeError, LookupError, RecursionError, ValueError, SafetensorError) as error:
        raise DoribError(
            f"{folder}: not a readable trigger ({error}); delete it and run again"
        ) from error
