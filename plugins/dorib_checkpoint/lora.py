"""LoRA files: in diffusers' form, by PEFT or older, and in kohya's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from dorib import AddLowRank, DoribError, TargetModel, TensorFile, require_finite
from dorib_checkpoint.layer_names import Layers, LoraName, Part, parsed
from dorib_checkpoint.scales import LoraConfig
from dorib_checkpoint.weights import UNET, components_of

_METADATA = "lora_adapter_metadata"
"""Where diffusers keeps PEFT's configurations in a LoRA file."""
_OTHERS = {
    "dora_scale": "a DoRA",
    "lora_magnitude_vector": "a DoRA",
    "hada_": "a LoHa",
    "lokr_": "a LoKr",
    "lora_mid": "a convolution in three parts",
    "lora_embedding_": "token embeddings",
    ".diff": "whole weights beside its matrices",
    "bias": "a bias",
}
"""By what a tensor's name holds: what it is part of, and is not read."""
_WAY_OUT = "fuse the adapter into the weights and give those"


def is_lora(names: Iterable[str]) -> bool:
    """Whether most of a file's tensors are an adapter's, by their names."""
    held = list(names)
    words = ("lora_", ".lora.", "_lora.", "hada_", "lokr_", "dora_scale")
    return 2 * sum(any(word in name for word in words) for name in held) > len(held)


def low_rank_change(file: TensorFile, model: TargetModel) -> AddLowRank:
    """What a LoRA file adds, its scale folded into `up`.

    Raises:
        DoribError: it cannot be read, is another kind of adapter, does not fit the model, or is
            not finite.
    """
    return low_rank(file.read(), model, file.what, _configurations(file))


def low_rank(
    tensors: Mapping[str, Tensor],
    model: TargetModel,
    what: str,
    configurations: Mapping[str | None, LoraConfig],
) -> AddLowRank:
    """The same of tensors, with PEFT's configurations by component (None: of all).

    Raises:
        DoribError: as `low_rank_change`.
    """
    require_finite(tensors, what)
    weights = components_of(model)
    layers = {component: _layers(own) for component, own in weights.items()}
    pairs: dict[tuple[str, str], dict[Part, Tensor]] = {}
    keys: dict[tuple[str, str], LoraName] = {}
    for key, value in sorted(tensors.items()):
        name = parsed(key)
        if name is None:
            raise DoribError(
                f"{what}: {key[:120]}: is {_other(key)}, which is not read; {_WAY_OUT}"
            )
        place = _place(name, layers)
        if place is None:
            raise DoribError(
                f"{what}: {key[:120]}: is for a layer that the suite's pipeline does not have; "
                "give what was made of that pipeline, by diffusers' or kohya's names"
            )
        if name.part in pairs.setdefault(place, {}):
            raise DoribError(
                f"{what}: {key[:120]}: there are two for that layer; give one adapter alone"
            )
        pairs[place][name.part] = value
        keys[place] = name
    factors = {}
    for place, pair in pairs.items():
        component, layer = place
        configuration = configurations.get(component, configurations.get(None))
        where = f"{what}: {keys[place].stem[:120]}"
        weight = weights[component][f"{layer}.weight"]
        prefix = "" if component == UNET else f"{component}."
        factors[prefix + layer] = _factors(pair, weight, keys[place].stem, configuration, where)
    if not any(bool(up.any()) and bool(down.any()) for up, down in factors.values()):
        raise DoribError(
            f"{what}: adds nothing to any layer, so nothing was mitigated; give a trained adapter"
        )
    return AddLowRank(factors)


def _factors(
    pair: Mapping[Part, Tensor],
    weight: Tensor,
    stem: str,
    configuration: LoraConfig | None,
    where: str,
) -> tuple[Tensor, Tensor]:
    for part in ("down", "up"):
        if part not in pair:
            raise DoribError(f"{where}: lacks its {part} matrix; restore the file")
    up, down = pair["up"], pair["down"]
    rank = down.shape[0] if down.dim() else 0
    fits = (
        rank > 0
        and up.dim() >= 2
        and down.dim() >= 2
        and up.shape[:2] == (weight.shape[0], rank)
        and up[0, 0].numel() == 1
        and down[0].numel() == weight[0].numel()
        and (down.dim() == 2 or down.shape[1:2] == weight.shape[1:2])
    )
    if not fits or not (up.is_floating_point() and down.is_floating_point()):
        raise DoribError(
            f"{where}: its matrices {[*up.shape]} and {[*down.shape]} do not make up a weight "
            f"{[*weight.shape]}; give what was made of the suite's pipeline"
        )
    scale = _scale(pair.get("alpha"), rank, stem, configuration, where)
    return up.reshape(up.shape[0], rank).float() * scale, down.reshape(rank, -1).float()


def _scale(
    alpha: Tensor | None, rank: int, stem: str, configuration: LoraConfig | None, where: str
) -> float:
    if alpha is None:
        return configuration.scale(stem, rank) if configuration else 1.0
    if alpha.numel() != 1:
        raise DoribError(f"{where}: its alpha is no single number; restore the file")
    return float(alpha) / rank


def _place(name: LoraName, layers: Mapping[str, Layers]) -> tuple[str, str] | None:
    """Component and layer; where the name does not say whose it is, the first that has one."""
    components = layers if name.component is None else (name.component,)
    for component in components:
        layer = layers[component].find(name.stem) if component in layers else None
        if layer is not None:
            return component, layer
    return None


def _layers(weights: Mapping[str, Tensor]) -> Layers:
    end = ".weight"
    return Layers(
        name.removesuffix(end)
        for name, value in weights.items()
        if name.endswith(end) and value.dim() >= 2
    )


def _other(key: str) -> str:
    for word, meaning in _OTHERS.items():
        if word in key:
            return f"part of {meaning}" if meaning[0] == "a" else meaning
    return "no tensor of a LoRA in a form that is known"


def _configurations(file: TensorFile) -> dict[str | None, LoraConfig]:
    """By component, what diffusers noted in the file of PEFT's configurations."""
    text = file.metadata.get(_METADATA)
    if text is None:
        return {}
    try:
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DoribError(
            f"{file.what}: its {_METADATA} is not readable as JSON ({reason}); write the file anew"
        ) from error
    parts: dict[str | None, dict[str, Any]] = {}
    for key, value in content.items():
        component, _, name = str(key).partition(".")
        parts.setdefault(component, {})[name] = value
    return {
        component: LoraConfig(f"{file.what}: {component}", part)
        for component, part in parts.items()
    }
