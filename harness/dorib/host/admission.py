"""The gate: what a plugin hands over is checked here, each check once, before anything is stored.

Messages name the plugin's kind and name, the sample, what came, what is wanted and how to mend it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import index
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor

from dorib.contracts.edits import (
    AddLowRank,
    Edit,
    MaskWeights,
    ReplaceWeights,
    SamplingRule,
    ScaleOutputs,
    Several,
    SingleChange,
)
from dorib.contracts.methods import Measured, Quantity
from dorib.contracts.params import Scope
from dorib.contracts.triggers import Trigger
from dorib.errors import DoribError

if TYPE_CHECKING:
    from dorib.contracts.target_model import TargetModel
    from dorib.contracts.views import Generation

CHANGES = (ScaleOutputs, MaskWeights, ReplaceWeights, AddLowRank, SamplingRule, Several)


class AdmissionError(Exception):
    """What a plugin handed over is not what its contract says; nothing of it is stored."""


def admit_edit(handed: object, model: TargetModel, scope: Scope, samples: Sequence[str]) -> Edit:
    """The edit that a `fit` returned, where it is one that was asked for.

    Args:
        handed: what came.
        model: the model it was fitted to; the edit is installed once, to see that it fits.
        scope: what the mitigation declared.
        samples: those that a per-sample edit must have a row for, in this order.

    Raises:
        AdmissionError: it is none, has another scope or other samples, or holds tensors that are of
            another kind, shape or layer, carry gradients or are not finite.
    """
    if not isinstance(handed, Edit):
        raise AdmissionError(f"fit returned {_kind(handed)}; return an Edit")
    if handed.scope != scope:
        raise AdmissionError(
            f"fit returned a {handed.scope} edit, but the mitigation declares the scope {scope}; "
            "make the two agree"
        )
    if scope == "per_sample" and list(handed.samples) != list(samples):
        raise AdmissionError(
            f"fit returned rows for {_names(handed.samples)}, not for {_names(samples)}; give one "
            "row for each of view.memorized, in that order"
        )
    change = handed.change
    if change is not None and not isinstance(change, CHANGES):
        raise AdmissionError(
            f"fit returned a change of {_kind(change)}; use one of "
            f"{', '.join(kind.__name__ for kind in CHANGES)}"
        )
    _check_change("fit returned", handed, model)
    return handed


def _check_change(came: str, edit: Edit, model: TargetModel) -> None:
    for change in edit.changes:
        for name, tensor, floating in _tensors(change):
            _check_tensor(f"edit, {name}", tensor, floating=floating)
        _check_rule(came, change)
    if not _is_json(edit.notes):
        raise AdmissionError(f"{came} an edit with notes that are no JSON values, or not finite")
    try:
        with model.edited(edit):
            pass
    except DoribError as error:
        raise AdmissionError(f"{came} an edit that does not fit the model: {error}") from error


def _tensors(change: SingleChange) -> Iterable[tuple[str, object, bool]]:
    """Name and value of each tensor of an edit, and whether it must hold floating-point numbers."""
    match change:
        case ScaleOutputs():
            yield from ((name, value, True) for name, value in change.scales.items())
        case ReplaceWeights():
            yield from ((name, value, True) for name, value in change.weights.items())
        case AddLowRank():
            for name, factors in change.factors.items():
                yield from ((name, factor, True) for factor in factors)
        case MaskWeights():
            for name, rows in change.indices.items():
                yield from ((name, row, False) for row in rows)


def _check_rule(came: str, change: SingleChange) -> None:
    if isinstance(change, SamplingRule) and not _is_json(dict(change.params)):
        raise AdmissionError(
            f"{came} the rule {change.name!r} with parameters that are no JSON values; "
            "give numbers, strings, truth values, lists and mappings only"
        )


def embedding_shapes(model: TargetModel) -> dict[str, torch.Size]:
    """Of each prompt embedding that the model takes, without the batch axis."""
    return {name: value.shape[1:] for name, value in model.encode_prompt([""]).items()}


def admit_trigger(
    handed: object,
    model: TargetModel,
    shapes: Mapping[str, torch.Size],
    samples: Sequence[str],
    budgets: Sequence[int],
) -> Trigger:
    """The trigger that a `search` yielded, where it is one that was asked for.

    `shapes` are the model's `embedding_shapes`.

    Raises:
        AdmissionError: it is none, is for another sample or budget, or its embeddings have other
            names or shapes than the model's, carry gradients or are not finite.
    """
    if not isinstance(handed, Trigger):
        raise AdmissionError(f"search yielded {_kind(handed)}; yield Trigger objects")
    if handed.sample not in samples:
        raise AdmissionError(
            f"search yielded a trigger for {handed.sample!r}, which is none of its targets "
            f"({_names(samples)}); use target.sample"
        )
    where = f"the trigger for {handed.sample}"
    if handed.budget not in budgets:
        raise AdmissionError(
            f"{where} has the budget {handed.budget!r}, which is none of {list(budgets)}; yield "
            "one for each budget that was asked for"
        )
    if handed.prompt is not None and not isinstance(handed.prompt, str):
        raise AdmissionError(f"{where} has a prompt of {_kind(handed.prompt)}; give a string")
    if handed.prompt is None:
        _check_embeddings(where, handed.embeddings, shapes)
    elif "\0" in handed.prompt or any("\ud800" <= one <= "\udfff" for one in handed.prompt):
        raise AdmissionError(f"{where} has a prompt that is no text; leave out NUL and surrogates")
    handed = _in_plain_numbers(where, handed)
    if handed.tokens:
        handed = replace(handed, encodes_back=_encodes_back(where, handed, model))
    if handed.start is not None:
        latents = handed.start.latents
        _check_tensor(f"{where}, its image start", latents, floating=True)
        if tuple(latents.shape) != model.latent_shape:
            raise AdmissionError(
                f"{where} starts from latents of the shape {[*latents.shape]}, and this model's "
                f"are {[*model.latent_shape]}; leave the batch axis out"
            )
    if handed.edit is not None:
        _check_own_edit(where, handed.edit, model)
    if handed.loss is not None and not _is_number(handed.loss):
        raise AdmissionError(f"{where} has a loss of {_kind(handed.loss)}; give a float or None")
    if not all(map(_is_number, handed.trace)):
        raise AdmissionError(f"{where} has a trace that is no sequence of numbers; give floats")
    return handed


def _in_plain_numbers(where: str, trigger: Trigger) -> Trigger:
    """The same with Python's own numbers, as they are stored."""
    start = trigger.start
    try:
        return replace(
            trigger,
            budget=index(trigger.budget),
            restart=index(trigger.restart),
            tokens=tuple(map(index, trigger.tokens)),
            start=start and replace(start, strength=float(start.strength)),
        )
    except (TypeError, ValueError) as error:
        raise AdmissionError(f"{where}: {error}; give plain whole numbers") from error


def _encodes_back(where: str, trigger: Trigger, model: TargetModel) -> bool:
    try:
        ids = model.tokens_of([trigger.tokens]).ids
    except ValueError as error:
        raise AdmissionError(f"{where}: {error}; give ids of the model's tokenizer") from error
    return bool(torch.equal(ids, model.tokenize([str(trigger.prompt)]).ids))


def _check_own_edit(where: str, edit: object, model: TargetModel) -> None:
    if not isinstance(edit, Edit) or edit.scope != "global" or edit.rules or not edit.changes:
        raise AdmissionError(
            f"{where} brings {_kind(edit)} that is no global edit of weights alone; give one"
        )
    _check_change(f"{where} brings", edit, model)


def _check_embeddings(
    where: str, embeddings: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
) -> None:
    if embeddings.keys() != shapes.keys():
        raise AdmissionError(
            f"{where} has embeddings named {_names(sorted(embeddings))}, and this model takes "
            f"{_names(sorted(shapes))}; give exactly these"
        )
    for name, wanted in shapes.items():
        value = embeddings[name]
        _check_tensor(f"{where}, {name}", value, floating=True)
        if value.shape != wanted:
            raise AdmissionError(
                f"{where}: {name} has the shape {[*value.shape]}, and this model takes "
                f"{[*wanted]}; leave the batch axis out, and pad to the encoder's length"
            )


def admit_measured(
    handed: object, generation: Generation | None, quantities: Mapping[str, Quantity]
) -> Measured:
    """One value that a metric gave, where it is one of its quantities.

    Args:
        handed: what came.
        generation: what was measured; None where the value speaks of a whole cell.
        quantities: what the metric declares.

    Raises:
        AdmissionError: it is none, is not finite, or its name, level or seed is another.
    """
    if not isinstance(handed, Measured):
        raise AdmissionError(f"measure gave {_kind(handed)}; give Measured objects")
    quantity = quantities.get(handed.metric)
    if quantity is None:
        raise AdmissionError(
            f"measure gave {handed.metric!r}, which is none of its quantities "
            f"({_names(sorted(quantities))}); declare it"
        )
    if not _is_number(handed.value) or not math.isfinite(handed.value):
        raise AdmissionError(
            f"measure gave {handed.metric} = {handed.value!r}{_of(generation)}; give a finite "
            "float, and leave out what cannot be measured"
        )
    level = "cell" if generation is None else "sample" if handed.seed is None else "image"
    if level != quantity.level:
        raise AdmissionError(
            f"measure gave {handed.metric} for one {level}{_of(generation)}, but it is declared "
            f"for each {quantity.level}; set the level, or give `seed` for images alone"
        )
    if generation is not None and handed.seed is not None and handed.seed not in generation.seeds:
        raise AdmissionError(
            f"measure gave {handed.metric} for seed {handed.seed!r}{_of(generation)}, whose seeds "
            f"are {list(generation.seeds)}; use generation.seeds"
        )
    return Measured(handed.metric, float(handed.value), handed.seed)


def admit_prompts(handed: object, count: int) -> list[str]:
    """What a rule's `rewrite` returned, where it is one string for each of `count` prompts.

    Raises:
        AdmissionError: it is not.
    """
    if not isinstance(handed, list | tuple) or not all(isinstance(one, str) for one in handed):
        raise AdmissionError(f"rewrite returned {_kind(handed)}; return a list of strings")
    if len(handed) != count:
        raise AdmissionError(
            f"rewrite made {len(handed)} prompts out of {count}; return one for each, in order"
        )
    return list(handed)


def admit_embeddings(handed: object, before: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """What a rule's `embed` returned, where it is of the names and shapes that it was given.

    Raises:
        AdmissionError: it is not.
    """
    if not isinstance(handed, Mapping) or set(handed) != set(before):
        raise AdmissionError(
            f"embed returned {_kind(handed)}; return embeddings named {_names(sorted(before))}"
        )
    return {name: _like("embed", handed[name], value) for name, value in before.items()}


def admit_latents(method: str, handed: object, before: Tensor) -> Tensor:
    """What a rule's `method` returned, where it is of the shape that it was given.

    Raises:
        AdmissionError: it is not.
    """
    return _like(method, handed, before)


def _like(method: str, value: object, before: Tensor) -> Tensor:
    if not isinstance(value, Tensor):
        raise AdmissionError(f"{method} returned {_kind(value)}; return a tensor")
    if value.shape != before.shape or not value.is_floating_point():
        raise AdmissionError(
            f"{method} returned {value.dtype} of the shape {[*value.shape]}; return floating-point "
            f"numbers of the shape {[*before.shape]}"
        )
    return value.to(before.device, before.dtype)


def _check_tensor(where: str, value: object, *, floating: bool) -> None:
    if not isinstance(value, Tensor):
        raise AdmissionError(f"{where} is {_kind(value)}; give a tensor")
    if value.requires_grad:
        raise AdmissionError(f"{where} carries gradients; detach it")
    if value.is_sparse or value.device.type == "meta":
        raise AdmissionError(f"{where} is a tensor without plain values; give a dense one")
    if floating and not value.is_floating_point():
        raise AdmissionError(f"{where} holds {value.dtype}; give floating-point numbers")
    if not floating and value.dtype != torch.int64:
        raise AdmissionError(f"{where} holds {value.dtype}; give positions as int64")
    if floating and not bool(value.isfinite().all()):
        raise AdmissionError(f"{where} holds numbers that are not finite; look for what overflowed")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, float | int) and not isinstance(value, bool)


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(part) for key, part in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return value is None or isinstance(value, str | int | float | bool)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:3]))
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown or "none"


def _of(generation: Generation | None) -> str:
    return f" of {generation.sample}" if generation is not None else ""
