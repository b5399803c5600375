"""Edits: what a mitigation changed, as data. A closed union of kinds; loading one runs no code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dorib.contracts.params import Scope
from dorib.errors import DoribError
from dorib.reprs import own_fields


@dataclass(frozen=True)
class ScaleOutputs:
    """Scales the outputs of layers, neuron by neuron (NeMo scales value neurons by 0).

    `scales` maps a U-Net module name to `[d_out]` (global) or `[samples, d_out]` (per sample).
    """

    scales: Mapping[str, Tensor]

    __repr__ = own_fields


@dataclass(frozen=True)
class MaskWeights:
    """Zeroes single weights of linear layers (Wanda).

    `indices` maps a U-Net module name to one int64 tensor for each sample of the edit (exactly
    one if global): positions in the flattened `[d_out, d_in]` weight that become 0.
    """

    indices: Mapping[str, tuple[Tensor, ...]]

    __repr__ = own_fields


@dataclass(frozen=True)
class ReplaceWeights:
    """New values for whole parameters (fine-tuning, retraining); global only.

    The values themselves, not differences: `w + (w' - w)` is not `w'` in floating point.
    """

    weights: Mapping[str, Tensor]

    __repr__ = own_fields


@dataclass(frozen=True)
class SamplingRule:
    """Leaves the weights as they are and acts while the model samples; global only.

    `name` is that of a registered `Rule`, which says where it acts; `params` are its parameters,
    JSON values only. So an edit that comes from elsewhere can name code that is installed here,
    and brings none.
    """

    name: str
    params: Mapping[str, Any]

    __repr__ = own_fields


Change: TypeAlias = ScaleOutputs | MaskWeights | ReplaceWeights | SamplingRule


@dataclass(frozen=True)
class Edit:
    """What a mitigation did to a model, and for which samples.

    A global edit has no `samples` and acts on every item. A per-sample edit presupposes knowing
    which image is asked for: row i of its tensors belongs to `samples[i]`. `change`
    is None where nothing is changed.
    """

    change: Change | None
    scope: Scope = "global"
    samples: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    __repr__ = own_fields

    def __post_init__(self) -> None:
        if (self.scope == "per_sample") != bool(self.samples):
            raise ValueError("a per-sample edit names its samples, and a global one names none")
        if self.scope == "per_sample" and isinstance(self.change, ReplaceWeights):
            raise ValueError("new weights are global: they cannot differ between samples")
        if self.scope == "per_sample" and isinstance(self.change, SamplingRule):
            raise ValueError("a sampling rule is global: it is the same for all samples")
        rows = len(self.samples) or 1
        if isinstance(self.change, MaskWeights):
            for layer, indices in self.change.indices.items():
                if len(indices) != rows:
                    raise ValueError(f"{layer}: {len(indices)} masks for {rows} samples")
        if isinstance(self.change, ScaleOutputs):
            for layer, scales in self.change.scales.items():
                if len(scales.reshape(-1, scales.shape[-1])) != rows:
                    raise ValueError(f"{layer}: scales {[*scales.shape]} for {rows} samples")


def save_edit(edit: Edit, folder: Path) -> None:
    """Write `edit.json` and, where the edit changes something, `edit.safetensors` into `folder`."""
    change = edit.change
    tensors: dict[str, Tensor] = {}
    description: dict[str, Any] = {
        "kind": type(change).__name__ if change is not None else None,
        "scope": edit.scope,
        "samples": list(edit.samples),
        "notes": dict(edit.notes),
    }
    if isinstance(change, ScaleOutputs):
        tensors = dict(change.scales)
    elif isinstance(change, MaskWeights):
        for layer, rows in change.indices.items():
            tensors |= {f"{layer}@{row}": indices for row, indices in enumerate(rows)}
    elif isinstance(change, ReplaceWeights):
        tensors = dict(change.weights)
    elif isinstance(change, SamplingRule):
        description["rule"] = {"name": change.name, "params": dict(change.params)}
    # Written even if it holds nothing, so that a lost file never passes for an empty change.
    if change is not None:
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, folder / "edit.safetensors")
    (folder / "edit.json").write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")


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


def load_sampling_rule(folder: Path) -> SamplingRule | None:
    """The sampling rule of an edit that `save_edit` wrote; None where it is of another kind.

    Reads no tensors, however large the edit.

    Raises:
        DoribError: the folder holds no edit.
    """
    with _readable(folder):
        description = json.loads((folder / "edit.json").read_text())
        return _rule(description) if description["kind"] == "SamplingRule" else None


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
    kind = description["kind"]
    if kind is None:
        return None
    tensors = load_file(folder / "edit.safetensors")
    match kind:
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
    raise ValueError(f"unknown kind of edit {kind!r}")


def merge_edits(edits: Sequence[Edit]) -> Edit:
    """One per-sample edit from several, their samples one after the other.

    Raises:
        ValueError: they are not per-sample edits of one kind and the same layers.
    """
    changes = [edit.change for edit in edits]
    samples = tuple(sample for edit in edits for sample in edit.samples)
    merged: Change | None
    if all(isinstance(change, MaskWeights) for change in changes):
        masks = [change.indices for change in changes if isinstance(change, MaskWeights)]
        merged = MaskWeights(
            {layer: tuple(row for mask in masks for row in mask[layer]) for layer in masks[0]}
        )
    elif all(isinstance(change, ScaleOutputs) for change in changes):
        scales = [change.scales for change in changes if isinstance(change, ScaleOutputs)]
        merged = ScaleOutputs(
            {layer: torch.cat([scale[layer] for scale in scales]) for layer in scales[0]}
        )
    else:
        raise ValueError("only per-sample edits of one kind can be merged")
    return Edit(merged, "per_sample", samples)


def single_edits(edit: Edit) -> dict[str, Edit]:
    """A per-sample edit taken apart: one edit for each of its samples.

    Of what its notes say by sample, under `samples`, each keeps its own, so that an edit does not
    depend on the batch it was fitted in.
    """
    change = edit.change
    parts: dict[str, Edit] = {}
    for row, sample in enumerate(edit.samples):
        part: Change | None = None
        if isinstance(change, MaskWeights):
            part = MaskWeights({layer: (rows[row],) for layer, rows in change.indices.items()})
        elif isinstance(change, ScaleOutputs):
            part = ScaleOutputs({layer: s[row : row + 1] for layer, s in change.scales.items()})
        parts[sample] = Edit(part, "per_sample", (sample,), _own_notes(edit.notes, sample))
    return parts


def _own_notes(notes: Mapping[str, Any], sample: str) -> Mapping[str, Any]:
    by_sample = notes.get("samples")
    if not (isinstance(by_sample, Mapping) and sample in by_sample):
        return notes
    return {**notes, "samples": {sample: by_sample[sample]}}
