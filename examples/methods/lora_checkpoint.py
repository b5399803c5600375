"""A LoRA that was trained elsewhere, as a low-rank edit: what diffusers' savers of LoRAs write.

Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models", ICLR, arXiv 2106.09685. A
layer has `COMPONENT.LAYER.lora_A.weight` (down) and `COMPONENT.LAYER.lora_B.weight` (up). Their
product is scaled by alpha over rank; alpha is a tensor `COMPONENT.LAYER.alpha`, or noted in the
file's metadata as PEFT's configuration has it, or else the rank itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field
from torch import Tensor

from dorib import (
    AddLowRank,
    DefenderView,
    DoribError,
    Edit,
    FileParam,
    Ledger,
    Mitigation,
    Params,
    Register,
    Seeds,
    TargetModel,
    TensorFile,
    hookimpl,
    require_finite,
)

dorib_contract = 2
TENSOR = re.compile(
    r"(?P<component>unet|text_encoder(?:_2)?)\.(?P<layer>.+?)"
    r"\.(?P<part>lora_A(?=\.weight)|lora_B(?=\.weight)|alpha)(?:\.weight)?"
)
MORE_THAN_ONE_SCALE = ("alpha_pattern", "rank_pattern", "use_dora", "use_rslora", "lora_bias")
"""Entries of PEFT's configuration that a single factor for all layers does not do justice to."""


class LoraParams(Params):
    """Where the LoRA lies."""

    path: FileParam = Field(description="a LoRA in diffusers' form, .safetensors")


class LoraCheckpoint(Mitigation[LoraParams]):
    """Nothing is fitted: the file is the edit."""

    def prepare(self, model: TargetModel) -> None:
        """Read and install it once, before any work of the run.

        Raises:
            DoribError: it is no such file, or is not made for this pipeline.
        """
        edit = Edit(self._change(model))
        try:
            with model.edited(edit):
                pass
        except DoribError as error:
            raise DoribError(f"LoRA {self.params.path}: is for another model; {error}") from error

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """What the file adds to each layer, its scale folded into `up`."""
        return Edit(self._change(model))

    def _change(self, model: TargetModel) -> AddLowRank:
        what = f"LoRA {self.params.path}"
        file = TensorFile.open(self.params.path, what)
        tensors = file.read()
        require_finite(tensors, what)
        parts: dict[tuple[str, str], dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            found = TENSOR.fullmatch(name)
            if found is None:
                raise DoribError(f"{what}: {name[:120]} is no tensor of a LoRA by diffusers' names")
            parts.setdefault((found["component"], found["layer"]), {})[found["part"]] = tensor
        if not parts:
            raise DoribError(f"{what}: holds no tensor; restore the file")
        configuration = _configuration(file)
        factors = {}
        for (component, layer), part in parts.items():
            if not {"lora_A", "lora_B"} <= part.keys():
                raise DoribError(f"{what}: {layer[:120]} lacks lora_A or lora_B; restore the file")
            up, down = part["lora_B"].flatten(1).float(), part["lora_A"].flatten(1).float()
            rank = len(down)
            alpha = float(part.get("alpha", configuration.get(f"{component}.lora_alpha", rank)))
            factors[_named(model, component, layer, what)] = up * (alpha / rank), down
        return AddLowRank(factors)


def _named(model: TargetModel, component: str, layer: str, what: str) -> str:
    """A layer as the edit names it: before transformers 5, CLIP's began with `text_model.`."""
    try:
        held = model.weights(component)
    except ValueError as error:
        raise DoribError(f"{what}: is for another model; {error}") from error
    plain = layer.removeprefix("text_model.")
    known = plain if f"{plain}.weight" in held else layer
    return known if component == "unet" else f"{component}.{known}"


def _configuration(file: TensorFile) -> Mapping[str, Any]:
    """PEFT's entries, `COMPONENT.ENTRY`, as far as the writer noted them."""
    try:
        noted = dict(json.loads(file.metadata.get("lora_adapter_metadata", "{}")))
    except (ValueError, TypeError) as error:
        raise DoribError(f"{file.what}: its metadata is no JSON object ({error})") from error
    for entry, value in noted.items():
        if value and entry.rpartition(".")[2] in MORE_THAN_ONE_SCALE:
            raise DoribError(f"{file.what}: {entry} is set, which is not read; use `checkpoint`")
    return noted


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring the mitigation."""
    summary = "a LoRA that was trained elsewhere, in diffusers' form"
    register("lora-checkpoint", f"{__name__}:LoraCheckpoint", params=LoraParams, summary=summary)
