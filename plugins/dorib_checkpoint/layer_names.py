"""Names of a LoRA's tensors: which part of which layer, in the forms that are in use.

unet.down_blocks.0.(...).to_q.lora_A.weight             diffusers, by PEFT
base_model.model.down_blocks.0.(...).to_q.lora_A.weight PEFT itself
unet.(...).attn1.processor.to_q_lora.down.weight        diffusers before 0.26
unet.(...).to_q.lora.down.weight                        diffusers before 0.26
text_encoder.(...).q_proj.lora_linear_layer.down.weight diffusers before 0.26
lora_unet_down_blocks_0_(...)_to_q.lora_down.weight     kohya
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

Part = Literal["down", "up", "alpha"]

_FIRST = {"lora_A": "down", "lora_B": "up"}
_TENSOR = re.compile(
    r"(?P<stem>.+?)"
    r"(?:\.(?P<peft>lora_[AB])(?:\.[\w-]+)?\.weight"
    r"|(?:\.lora|_lora|\.lora_linear_layer)\.(?P<old>down|up)\.weight"
    r"|\.lora_(?P<kohya>down|up)\.weight"
    r"|\.(?P<alpha>alpha))"
)
_KOHYA = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
}
_PEFT = "base_model.model."
_OLD_PROJECTIONS = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
_WRAPPER = "text_model."


class LoraName(NamedTuple):
    """What a tensor's name says."""

    component: str | None
    """None where the name does not say."""
    stem: str
    """The layer, as it is called there."""
    part: Part


def parsed(name: str) -> LoraName | None:
    """What a tensor's name says; None if it is none of a LoRA's in a form that is known."""
    found = _TENSOR.fullmatch(name)
    if found is None:
        return None
    stem = found["stem"].removeprefix(_PEFT)
    part: Part = "alpha"
    if not found["alpha"]:
        word = _FIRST.get(found["peft"] or "") or found["old"] or found["kohya"]
        part = "down" if word == "down" else "up"
    for prefix, component in _KOHYA.items():
        if stem.startswith(prefix):
            return LoraName(component, stem.removeprefix(prefix), part)
    first, dot, within = stem.partition(".")
    if dot and first in _KOHYA.values():
        return LoraName(first, within, part)
    return LoraName(None, stem, part)


class Layers:
    """The layers of one component, found by any name that a LoRA may give them."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._flat: dict[str, str] = {}
        for name in sorted(self._names):
            plain = name.removeprefix(_WRAPPER)
            for known in (name, plain, _WRAPPER + plain):
                self._flat.setdefault(known.replace(".", "_"), name)

    def find(self, stem: str) -> str | None:
        """The layer that is meant; None where there is none of that name."""
        owner, _, last = stem.replace(".processor.", ".").rpartition(".")
        in_place = f"{owner}.{last}" if owner else last
        plain = in_place.removeprefix(_WRAPPER)
        for name in (in_place, plain, _WRAPPER + plain):
            for known in (name, f"{name}.0" if last == "to_out" else name):
                if known in self._names:
                    return known
            if last in _OLD_PROJECTIONS:
                renamed = name.removesuffix(last) + _OLD_PROJECTIONS[last]
                if renamed in self._names:
                    return renamed
        return self._flat.get(stem) if "." not in stem else None
