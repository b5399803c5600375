"""A global edit of weights as new values of whole parameters: what any program can load."""

from __future__ import annotations

import torch
from torch import Tensor

from dorib.contracts.edits import (
    AddLowRank,
    Edit,
    MaskWeights,
    ReplaceWeights,
    ScaleOutputs,
)
from dorib.target.editing.installing import UNET, component_of
from dorib.target.model import DiffusersModel


def as_new_weights(model: DiffusersModel, edit: Edit) -> dict[str, dict[str, Tensor]]:
    """By component and name, the parameters that a global edit of weights changes, as they become.

    In the model's number format, on the CPU. Scaled outputs become scaled weights and biases: the
    same within rounding. All else is what the model computes with, to the bit.

    Raises:
        DoribError: the edit does not fit the model.
        ValueError: it is per sample, or acts while the model samples.
    """
    if edit.scope != "global" or edit.rules:
        raise ValueError("only a global edit of weights is one of new weights")
    changed: dict[str, dict[str, Tensor]] = {}
    with model.edited(edit):
        for name in _parameters(model, edit):
            component, within = component_of(name)
            value = model.weights(component)[within]
            changed.setdefault(component, {})[within] = value.cpu().clone()
    for change in edit.changes:
        if isinstance(change, ScaleOutputs):
            _fold(change, changed)
    return changed


def components_of(edit: Edit) -> set[str]:
    """The components whose weights or layers an edit changes."""
    names: set[str] = set()
    for change in edit.changes:
        match change:
            case ReplaceWeights(weights):
                names |= weights.keys()
            case AddLowRank(factors):
                names |= factors.keys()
            case MaskWeights(indices):
                names |= indices.keys()
            case ScaleOutputs(scales):
                names |= scales.keys()
    return {component_of(name)[0] for name in names}


def _parameters(model: DiffusersModel, edit: Edit) -> list[str]:
    """The names of the parameters that take part, each once."""
    names: dict[str, None] = {}
    for change in edit.changes:
        match change:
            case ReplaceWeights():
                names |= dict.fromkeys(change.weights)
            case AddLowRank():
                names |= dict.fromkeys(f"{name}.weight" for name in change.factors)
            case MaskWeights():
                names |= dict.fromkeys(f"{name}.weight" for name in change.indices)
            case ScaleOutputs():
                for name in change.scales:
                    component, within = component_of(name)
                    own = model.weights(component)
                    leaves = [leaf for leaf in ("weight", "bias") if f"{within}.{leaf}" in own]
                    names |= dict.fromkeys(f"{name}.{leaf}" for leaf in leaves)
    return list(names)


def _fold(change: ScaleOutputs, changed: dict[str, dict[str, Tensor]]) -> None:
    for name, scales in change.scales.items():
        component, within = component_of(name)
        for leaf in ("weight", "bias"):
            value = changed[component].get(f"{within}.{leaf}")
            if value is not None:
                factor = scales.reshape(-1).to("cpu", torch.float32)
                factor = factor.view(-1, *[1] * (value.dim() - 1))
                changed[component][f"{within}.{leaf}"] = (value.float() * factor).to(value.dtype)


def replacement(weights: dict[str, dict[str, Tensor]]) -> ReplaceWeights:
    """New weights by component as the change that an edit holds."""
    return ReplaceWeights(
        {
            name if component == UNET else f"{component}.{name}": value
            for component, own in weights.items()
            for name, value in own.items()
        }
    )


def row_as_global(edit: Edit) -> Edit:
    """What a per-sample edit of one sample does, as an edit for all; a global one as it is.

    Raises:
        ValueError: it has several rows.
    """
    if edit.scope == "global":
        return edit
    if len(edit.samples) != 1:
        raise ValueError("an edit of several samples has no one row")
    match edit.change:
        case MaskWeights(indices):
            return Edit(MaskWeights(indices))
        case ScaleOutputs(scales):
            return Edit(ScaleOutputs({name: rows.reshape(-1) for name, rows in scales.items()}))
    return Edit(None)
