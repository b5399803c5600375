"""Whole weights: whose they are, whether they fit, and which of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dorib import DoribError, ReplaceWeights, TargetModel, require_finite

UNET = "unet"
COMPONENTS = (UNET, "text_encoder", "text_encoder_2")

_WRAPPER = "text_model."
"""Stands before the names of CLIP's text encoders, or does not, as transformers' version has it."""
_NO_WEIGHT = ".position_ids"
"""Ends the name of what old versions of transformers stored beside the weights: 0, 1, 2 ..."""


def components_of(model: TargetModel) -> dict[str, Mapping[str, Tensor]]:
    """The weights of those components that the model has, by the components' names."""
    found = {}
    for name in COMPONENTS:
        try:
            found[name] = model.weights(name)
        except ValueError:
            continue
    return found


def by_component(
    tensors: Mapping[str, Tensor], model: TargetModel, what: str
) -> dict[str, dict[str, Tensor]]:
    """A file's tensors, those of each component by themselves.

    A name may say whose it is (`unet.`, `text_encoder.`); where it does not, the names taken
    together tell.

    Raises:
        DoribError: none of them is a name that a component has.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        first, _, within = name.partition(".")
        component, own = (first, within) if first in COMPONENTS else ("", name)
        parts.setdefault(component, {})[own] = value
    unnamed = parts.pop("", None)
    if unnamed is not None:
        component = _likeliest(unnamed, model, what)
        twice = sorted(unnamed.keys() & parts.get(component, {}).keys())
        if twice:
            raise _twice(twice[0], f"{what}: {component}")
        parts.setdefault(component, {}).update(unnamed)
    return parts


def component_of_folder(folder: Path, weights: Mapping[str, Tensor], model: TargetModel) -> str:
    """Whose weights a component's folder holds: the folder's name decides where two are alike."""
    name = folder.resolve().name
    own = components_of(model).get(name)
    if own is not None and _likeness(weights, own) == 2 * len(own):
        return name
    return _likeliest(weights, model, f"checkpoint {folder}")


def replaced(
    weights: Mapping[str, Mapping[str, Tensor]],
    model: TargetModel,
    what: str,
    *,
    partial: bool = False,
) -> ReplaceWeights:
    """Those of the weights, by component, that differ from the model's in its number format.

    Raises:
        DoribError: one is missing (unless they are `partial`), unknown, of another shape or not
            finite, the model lacks a component, or none differs.
    """
    own_weights = components_of(model)
    changed: dict[str, Tensor] = {}
    for component, given in weights.items():
        own = own_weights.get(component)
        if own is None:
            raise DoribError(
                f"{what}: holds a {component}, and the suite's pipeline has none; give what was "
                "made of that pipeline"
            )
        where = f"{what}: {component}"
        named: dict[str, Tensor] = {}
        for name, value in given.items():
            if _as_in(own, name) in named:
                raise _twice(name, where)
            if not name.endswith(_NO_WEIGHT):
                named[_as_in(own, name)] = value
        _require_fit(named, own, where, partial=partial)
        require_finite(named, where)
        prefix = "" if component == UNET else f"{component}."
        for name, value in _differing(named, own, where).items():
            changed[prefix + name] = value
    if not changed:
        raise DoribError(
            f"{what}: holds the weights of the suite's pipeline as they are, so nothing was "
            "mitigated; give the mitigated ones"
        )
    return ReplaceWeights(changed)


def _likeliest(tensors: Mapping[str, Tensor], model: TargetModel, what: str) -> str:
    likeness = {name: _likeness(tensors, own) for name, own in components_of(model).items()}
    likeliest = max(likeness, key=lambda name: likeness[name])
    if not likeness[likeliest]:
        shown = min(tensors, default="nothing at all")
        raise DoribError(
            f"{what}: holds no tensor that a U-Net or text encoder of the suite's pipeline has, "
            f"but {shown[:80]}; give weights by diffusers' names, or a LoRA"
        )
    return likeliest


def _likeness(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> int:
    """Two for each tensor that the component has too, one for one that it has in another shape."""
    count = 0
    for name, value in tensors.items():
        there = own.get(_as_in(own, name))
        count += (there is not None) + (there is not None and there.shape == value.shape)
    return count


def _as_in(own: Mapping[str, Tensor], name: str) -> str:
    """A name as this version of transformers has it."""
    for known in (name, name.removeprefix(_WRAPPER), _WRAPPER + name):
        if known in own:
            return known
    return name


def _require_fit(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str, *, partial: bool
) -> None:
    unknown = sorted(given.keys() - own.keys())
    if unknown:
        raise DoribError(
            f"{where}: {_count(unknown)} that the suite's pipeline does not have; give what was "
            "made of that pipeline"
        )
    for name, value in given.items():
        if not value.is_floating_point():
            raise DoribError(
                f"{where}: {name} holds {value.dtype}; give floating-point weights, quantized ones "
                "turned back"
            )
        if value.shape != own[name].shape:
            raise DoribError(
                f"{where}: {name} has the shape {[*value.shape]}, and in the suite's pipeline "
                f"{[*own[name].shape]}; give what was made of that pipeline"
            )
        if own[name].is_meta:
            raise DoribError(f"{where}: cannot be changed while it is offloaded; leave out offload")
    missing = sorted(own.keys() - given.keys())
    if missing and not partial:
        raise DoribError(
            f"{where}: lacks {_count(missing)} of the suite's pipeline; give all of them, or say "
            "partial=true if the file holds only what was changed"
        )


def _differing(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    cast = {name: value.to(own[name].dtype) for name, value in given.items()}
    # A number may be too large for the model's format.
    require_finite(cast, where)
    return {name: value for name, value in cast.items() if not torch.equal(value, own[name].cpu())}


def _twice(name: str, where: str) -> DoribError:
    return DoribError(f"{where}: {name[:120]} stands there twice, by two names; remove one of them")


def _count(names: list[str]) -> str:
    first = names[0][:120]
    return f"{len(names)} tensors ({first} among them)" if len(names) > 1 else f"the tensor {first}"
