"""Triggers: what an attack found for one sample at one budget; the witness of a row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dorib.contracts.edit_files import load_edit, save_edit, storable
from dorib.contracts.edits import Edit, own_tensors
from dorib.errors import DoribError
from dorib.reprs import own_fields

TriggerKind: TypeAlias = Literal["prompt", "tokens", "embeddings", "image start", "edit"]

_START = "start"
"""An image start's name among a trigger's tensors, which embeddings have none of."""


@dataclass(frozen=True)
class ImageStart:
    """An image to start sampling from, as in image-to-image generation."""

    latents: Tensor
    """`[*latent_shape]`, clean; the evaluation's own noise is added to them."""
    strength: float
    """In (0, 1]: the share of the sampling steps that follow."""

    __repr__ = own_fields

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise ValueError(f"an image start's strength lies in (0, 1], not {self.strength}")


@dataclass(frozen=True)
class Trigger:
    """A way to ask the model for one sample's image.

    It asks with `embeddings` (named tensors without a batch axis; `prompt_embeds` is
    `[tokens, width]`, on the CPU), with a `prompt` in words, or with token ids, which have the
    prompt that they decode to beside them. On top there may be an image to start from, or an
    edit of the attacker's own.
    """

    sample: str
    budget: int
    """The work the search was allowed for this sample, in U-Net items, all restarts together."""
    restart: int = 0
    embeddings: Mapping[str, Tensor] = field(default_factory=dict)
    prompt: str | None = None
    tokens: tuple[int, ...] = ()
    """Ids in the text encoder's vocabulary, begin, end and padding left out."""
    encodes_back: bool = True
    """Whether the prompt encodes to the token ids again; the host finds out. Where it does not, the
    ids are what the model is asked with."""
    start: ImageStart | None = None
    edit: Edit | None = None
    """Installed on top of the mitigation's; global, and of weights alone."""
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
        if self.tokens and self.prompt is None:
            raise ValueError("token ids come with the prompt that they decode to")
        if self.start is not None and self.edit is not None:
            raise ValueError("a trigger has an image start or an edit, not both")

    @property
    def kind(self) -> TriggerKind:
        """What it is, by what is most unusual about it."""
        if self.edit is not None:
            return "edit"
        if self.start is not None:
            return "image start"
        if self.tokens:
            return "tokens"
        return "embeddings" if self.embeddings else "prompt"


def own_copy(trigger: Trigger) -> Trigger:
    """The same trigger on copies of its tensors."""
    start, edit = trigger.start, trigger.edit
    return replace(
        trigger,
        embeddings={name: value.clone() for name, value in trigger.embeddings.items()},
        start=start and replace(start, latents=start.latents.clone()),
        edit=edit and own_tensors(edit),
    )


def save_trigger(trigger: Trigger, folder: Path) -> None:
    """Write `trigger.json` and, where there are tensors, `trigger.safetensors` into `folder`.

    An edit on top lies in a folder `edit` beside them.
    """
    tensors = dict(trigger.embeddings)
    description: dict[str, Any] = {
        "sample": trigger.sample,
        "budget": trigger.budget,
        "restart": trigger.restart,
        "prompt": trigger.prompt,
        "loss": trigger.loss,
        "trace": list(trigger.trace),
        "work": trigger.work,
    }
    if trigger.tokens:
        description |= {"tokens": list(trigger.tokens), "encodes_back": trigger.encodes_back}
    if trigger.start is not None:
        tensors[_START] = trigger.start.latents
        description["strength"] = trigger.start.strength
    if trigger.edit is not None:
        (folder / "edit").mkdir()
        save_edit(trigger.edit, folder / "edit")
        description["edit"] = True
    if tensors:
        save_file(storable(tensors), folder / "trigger.safetensors")
    (folder / "trigger.json").write_text(json.dumps(description, sort_keys=True) + "\n")


def load_trigger(folder: Path | str) -> Trigger:
    """Read a trigger that `save_trigger` wrote.

    Raises:
        DoribError: the folder holds no readable trigger.
    """
    folder = Path(folder)
    try:
        description = json.loads((folder / "trigger.json").read_text())
        path = folder / "trigger.safetensors"
        tensors = load_file(path) if path.exists() else {}
        description["trace"] = tuple(description["trace"])
        description["tokens"] = tuple(description.get("tokens", ()))
        start = None
        if "strength" in description:
            start = ImageStart(tensors.pop(_START), description.pop("strength"))
        edit = load_edit(folder / "edit") if description.pop("edit", False) else None
        return Trigger(embeddings=tensors, start=start, edit=edit, **description)
    except (OSError, TypeError, LookupError, RecursionError, ValueError, SafetensorError) as error:
        raise DoribError(
            f"{folder}: not a readable trigger ({error}); delete it and run again"
        ) from error
