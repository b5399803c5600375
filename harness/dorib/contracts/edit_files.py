"""Edits on disk: `edit.json` and `edit.safetensors`. Loading one runs no code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from dorib.contracts.edits import (
    AddLowRank,
    Change,
    Edit,
    MaskWeights,
    ReplaceWeights,
    SamplingRule,
    ScaleOutputs,
    Several,
    SingleChange,
)
from dorib.errors import DoribError

TENSORS = "edit.safetensors"
RULE = SamplingRule.__name__
"""The kind of a change that names a rule, as `edit.json` has it."""
UP, DOWN = "@up", "@down"
"""What follows a layer's name where a tensor is one of a low-rank change's two."""


@dataclass(frozen=True)
class Outline:
    """What an edit is made of, told without its tensors."""

    rules: tuple[SamplingRule, ...] = ()
    names: tuple[str, ...] = ()
    """Of the modules and parameters that it changes."""
    kinds: tuple[str, ...] = ()
    """Of its changes, in order."""


def save_edit(edit: Edit, folder: Path) -> None:
    """Write `edit.json` and, where the edit changes something, `edit.safetensors` into `folder`."""
    change = edit.change
    tensors: dict[str, Tensor] = {}
    description: dict[str, Any] = {
        "kind": None,
        "scope": edit.scope,
        "samples": list(edit.samples),
        "notes": dict(edit.notes),
    }
    if isinstance(change, Several):
        parts = [_described(one) for one in change.changes]
        description |= {"kind": "Several", "changes": [one for one, _ in parts]}
        for number, (_, of_one) in enumerate(parts):
            tensors |= {f"{number}/{name}": tensor for name, tensor in of_one.items()}
    elif change is not None:
        own, tensors = _described(change)
        description |= own
    # Written even if it holds nothing, so that a lost file never passes for an empty change.
    if change is not None:
        save_file(storable(tensors), folder / TENSORS)
    (folder / "edit.json").write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")


def storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same on the CPU, contiguous, and each in memory of its own, as safetensors asks."""
    own: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        if plain.untyped_storage().data_ptr() in taken:
            plain = plain.clone()
        taken.add(plain.untyped_storage().data_ptr())
        own[name] = plain
    return own


def _described(change: SingleChange) -> tuple[dict[str, Any], dict[str, Tensor]]:
    description: dict[str, Any] = {"kind": type(change).__name__}
    match change:
        case ScaleOutputs():
            return description, dict(change.scales)
        case MaskWeights():
            return description, {
                f"{layer}@{row}": indices
                for layer, rows in change.indices.items()
                for row, indices in enumerate(rows)
            }
        case ReplaceWeights():
            return description, dict(change.weights)
        case AddLowRank():
            ups = {f"{name}{UP}": up for name, (up, _) in change.factors.items()}
            return description, ups | {
                f"{name}{DOWN}": down for name, (_, down) in change.factors.items()
            }
        case SamplingRule():
            return description | {"rule": {"name": change.name, "params": dict(change.params)}}, {}


def load_edit(folder: Path | str) -> Edit:
    """Read an edit that `save_edit` wrote.

    Raises:
        DoribError: the folder holds no edit, or one of an unknown kind.
    """
    folder = Path(folder)
    with _readable(folder):
        description = json.loads((folder / "edit.json").read_text())
        samples = tuple(description["samples"])
        return Edit(
            change=_change(description, folder, rows=len(samples) or 1),
            scope=description["scope"],
            samples=samples,
            notes=description["notes"],
        )


def load_outline(folder: Path) -> Outline:
    """What an edit that `save_edit` wrote is made of; reads no tensors, however large it is.

    Raises:
        DoribError: the folder holds no edit.
    """
    with _readable(folder):
        description = json.loads((folder / "edit.json").read_text())
        if description["kind"] is None:
            return Outline()
        several = description["kind"] == "Several"
        parts = description["changes"] if several else [description]
        kinds = tuple(str(part["kind"]) for part in parts)
        rules = tuple(_rule(part) for part in parts if part["kind"] == RULE)
        with safe_open(folder / TENSORS, "pt") as tensors:
            names = [name.partition("/")[2] if several else name for name in tensors.keys()]  # noqa: SIM118
        plain = dict.fromkeys(name.rpartition("@")[0] or name for name in names)
        return Outline(rules, tuple(plain), kinds)


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except (
        OSError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
        SafetensorError,
    ) as error:
        raise DoribError(f"{folder}: not a readable edit ({error}); delete it and run again") from (
            error
        )


def _rule(description: Mapping[str, Any]) -> SamplingRule:
    rule = description["rule"]
    return SamplingRule(str(rule["name"]), dict(rule["params"]))


def _change(description: Mapping[str, Any], folder: Path, rows: int) -> Change | None:
    if description["kind"] is None:
        return None
    tensors = load_file(folder / TENSORS)
    if description["kind"] != "Several":
        return _single(description, tensors, rows)
    changes = []
    for number, part in enumerate(description["changes"]):
        prefix = f"{number}/"
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        changes.append(_single(part, own, rows))
    return Several(tuple(changes))


def _single(
    description: Mapping[str, Any], tensors: Mapping[str, Tensor], rows: int
) -> SingleChange:
    match description["kind"]:
        case "SamplingRule":
            return _rule(description)
        case "ScaleOutputs":
            return ScaleOutputs(tensors)
        case "MaskWeights":
            layers = sorted({name.rsplit("@", 1)[0] for name in tensors})
            return MaskWeights(
                {
                    layer: tuple(tensors[f"{layer}@{row}"].to(torch.int64) for row in range(rows))
                    for layer in layers
                }
            )
        case "ReplaceWeights":
            return ReplaceWeights(tensors)
        case "AddLowRank":
            layers = sorted({name.rsplit("@", 1)[0] for name in tensors})
            return AddLowRank(
                {layer: (tensors[layer + UP], tensors[layer + DOWN]) for layer in layers}
            )
    raise ValueError(f"unknown kind of edit {description['kind']!r}")
