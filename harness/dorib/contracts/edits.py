"""Edits: what a mitigation changed, as data. A closed union of kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from dorib.contracts.params import Scope
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
class AddLowRank:
    """Adds a product of two thin matrices to weights (LoRA); global only.

    `factors` maps a layer's name to `up` `[d_out, rank]` and `down` `[rank, d_in]`: its weight,
    flattened after the first axis, becomes `W + up @ down`. A scale is part of `up`.
    """

    factors: Mapping[str, tuple[Tensor, Tensor]]

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


@dataclass(frozen=True)
class Several:
    """Changes one after the other, each on top of those before it; global only."""

    changes: tuple[SingleChange, ...]

    __repr__ = own_fields

    def __post_init__(self) -> None:
        if not self.changes or any(isinstance(change, Several) for change in self.changes):
            raise ValueError("several changes are one at least, and none of them several itself")


SingleChange: TypeAlias = ScaleOutputs | MaskWeights | ReplaceWeights | AddLowRank | SamplingRule
Change: TypeAlias = SingleChange | Several
_GLOBAL_ONLY = ReplaceWeights, AddLowRank, Several


@dataclass(frozen=True)
class Edit:
    """What a mitigation did to a model, and for which samples.

    A global edit has no `samples` and acts on every item. A per-sample edit presupposes knowing
    which image is asked for: row i of its tensors belongs to `samples[i]`. `change`
    is None where nothing is changed.

    Names are those of the U-Net's modules and parameters; with `unet.`, `text_encoder.` or
    `text_encoder_2.` before them, those of that component. Only the U-Net's can differ between
    samples.
    """

    change: Change | None
    scope: Scope = "global"
    samples: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    __repr__ = own_fields

    def __post_init__(self) -> None:
        if (self.scope == "per_sample") != bool(self.samples):
            raise ValueError("a per-sample edit names its samples, and a global one names none")
        if self.scope == "per_sample" and isinstance(self.change, SamplingRule):
            raise ValueError("a sampling rule is global: it is the same for all samples")
        if self.scope == "per_sample" and isinstance(self.change, _GLOBAL_ONLY):
            raise ValueError("new weights are global: they cannot differ between samples")
        rows = len(self.samples) or 1
        for change in self.changes:
            if isinstance(change, MaskWeights):
                for layer, indices in change.indices.items():
                    if len(indices) != rows:
                        raise ValueError(f"{layer}: {len(indices)} masks for {rows} samples")
            if isinstance(change, ScaleOutputs):
                for layer, scales in change.scales.items():
                    if len(scales.reshape(-1, scales.shape[-1])) != rows:
                        raise ValueError(f"{layer}: scales {[*scales.shape]} for {rows} samples")

    @property
    def changes(self) -> tuple[SingleChange, ...]:
        """The single changes that it is made of, in order."""
        if isinstance(self.change, Several):
            return self.change.changes
        return () if self.change is None else (self.change,)

    @property
    def rules(self) -> tuple[SamplingRule, ...]:
        """The sampling rules among its changes."""
        return tuple(change for change in self.changes if isinstance(change, SamplingRule))


def own_tensors(edit: Edit) -> Edit:
    """The same edit on copies of its tensors."""
    own = [_own(change) for change in edit.changes]
    if isinstance(edit.change, Several):
        return replace(edit, change=Several(tuple(own)))
    return replace(edit, change=own[0]) if own else edit


def _own(change: SingleChange) -> SingleChange:
    match change:
        case ScaleOutputs():
            return ScaleOutputs({name: value.clone() for name, value in change.scales.items()})
        case MaskWeights():
            rows = change.indices.items()
            return MaskWeights({name: tuple(row.clone() for row in own) for name, own in rows})
        case ReplaceWeights():
            return ReplaceWeights({name: value.clone() for name, value in change.weights.items()})
        case AddLowRank():
            pairs = change.factors.items()
            return AddLowRank({name: (up.clone(), down.clone()) for name, (up, down) in pairs})
        case SamplingRule():
            return change


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
