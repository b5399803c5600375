"""Low-rank changes as diffusers' LoRA files and as PEFT's adapters have them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dorib.contracts.edits import AddLowRank, Edit
from dorib.target.editing.installing import component_of
from dorib.target.model import DiffusersModel

LORA_METADATA = "lora_adapter_metadata"
"""Where diffusers looks in a LoRA file for PEFT's configuration of each component."""


@dataclass(frozen=True)
class Adapter:
    """A low-rank change of one component."""

    factors: Mapping[str, tuple[Tensor, Tensor]]
    """By layer: `up` and `down` in the shapes that a layer of its kind takes."""

    @property
    def configuration(self) -> dict[str, Any]:
        """What PEFT must know of it: every layer's rank, and as its alpha the same number.

        So nothing is scaled: the scale is part of `up`.
        """
        ranks = {name: down.shape[0] for name, (_, down) in self.factors.items()}
        usual = Counter(ranks.values()).most_common(1)[0][0]
        others = {name: rank for name, rank in ranks.items() if rank != usual}
        return {
            "r": usual,
            "lora_alpha": usual,
            "rank_pattern": others,
            "alpha_pattern": others,
            "target_modules": sorted(ranks),
        }

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Its matrices, by the names that PEFT gives them, after `prefix`."""
        named = {}
        for layer, (up, down) in self.factors.items():
            named[f"{prefix}.{layer}.lora_A.weight"] = down.contiguous()
            named[f"{prefix}.{layer}.lora_B.weight"] = up.contiguous()
        return named


def adapters_of(model: DiffusersModel, edit: Edit) -> dict[str, Adapter]:
    """An edit that is of low rank, by component; several changes of a layer become one.

    Raises:
        ValueError: it holds a change of another kind.
    """
    joined: dict[str, dict[str, tuple[Tensor, Tensor]]] = {}
    for change in edit.changes:
        if not isinstance(change, AddLowRank):
            raise ValueError(f"{type(change).__name__} is no low-rank change")
        for name, (up, down) in change.factors.items():
            component, layer = component_of(name)
            own = joined.setdefault(component, {})
            down = down.flatten(1)
            if layer in own:
                before = own[layer]
                up, down = torch.cat([before[0], up], dim=1), torch.cat([before[1], down])
            own[layer] = up.cpu(), down.cpu()
    return {
        component: Adapter(
            {
                layer: _shaped(up, down, model.weights(component)[f"{layer}.weight"])
                for layer, (up, down) in own.items()
            }
        )
        for component, own in joined.items()
    }


def lora_metadata(adapters: Mapping[str, Adapter]) -> dict[str, str]:
    """What stands in the head of a LoRA file."""
    configurations = {
        f"{component}.{name}": value
        for component, adapter in adapters.items()
        for name, value in adapter.configuration.items()
    }
    return {"format": "pt", LORA_METADATA: json.dumps(configurations, sort_keys=True)}


def peft_configuration(adapter: Adapter) -> dict[str, Any]:
    """The content of an `adapter_config.json`."""
    return {
        "peft_type": "LORA",
        "bias": "none",
        "inference_mode": True,
        "lora_dropout": 0.0,
        **adapter.configuration,
    }


def _shaped(up: Tensor, down: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """As the two layers are that stand for one: of a convolution the second has a kernel of 1."""
    of_kernel = [1] * (weight.dim() - 2)
    return up.view(*up.shape, *of_kernel), down.view(down.shape[0], *weight.shape[1:])
