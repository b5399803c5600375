"""What a LoRA's product is multiplied by: alpha over rank, as its configuration says."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dorib import DoribError

_PLAIN = re.compile(r"[\w.-]+")
_UNREAD = {
    "use_dora": "a DoRA",
    "use_qalora": "a QALoRA",
    "lora_bias": "biases beside its matrices",
    "fan_in_fan_out": "transposed weights",
    "modules_to_save": "whole layers beside its matrices",
    "trainable_token_indices": "token embeddings",
    "target_parameters": "parameters that are no layer's weight",
    "layer_replication": "layers that are there several times",
    "megatron_config": "the layers of Megatron",
    "alora_invocation_tokens": "an adapter that acts after certain tokens",
    "arrow_config": "several adapters and a router",
    "loftq_config": "quantized weights below it",
    "corda_config": "other weights below it",
}
"""Entries that say that it is more than two matrices a layer."""
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""How the matrices began, where the weights below them stay as they were."""


@dataclass(frozen=True)
class LoraConfig:
    """The part of PEFT's `LoraConfig` that decides what a LoRA adds."""

    what: str
    """How messages call it."""
    content: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name, meaning in _UNREAD.items():
            if self.content.get(name):
                raise DoribError(
                    f"{self.what}: {name} asks for {meaning}, which is not read; fuse the adapter "
                    "into the weights and give those"
                )
        if self.content.get("bias", "none") != "none":
            raise DoribError(
                f"{self.what}: bias is {str(self.content['bias'])[:40]!r}; biases are not read: "
                "fuse the adapter into the weights and give those"
            )
        start = self.content.get("init_lora_weights")
        if start not in _PLAIN_STARTS:
            raise DoribError(
                f"{self.what}: init_lora_weights {str(start)[:40]!r} changes the weights below the "
                "adapter; convert it to a plain LoRA (PEFT's path_initial_model_for_weight_"
                "conversion), or fuse it"
            )
        for name in ("rank_pattern", "alpha_pattern"):
            self._pattern(name)

    def scale(self, layer: str, rank: int) -> float:
        """The factor for the product of a layer, by the layer's name there.

        Raises:
            DoribError: the tensors have another rank than the configuration says, or there is no
                number where one is needed.
        """
        stated = self._of_layer("rank_pattern", layer, "r")
        if stated is None or stated != rank:
            raise DoribError(
                f"{self.what}: {layer}: has the rank {rank}, and the configuration says "
                f"{'nothing of it' if stated is None else f'{stated:g}'}; restore the two files "
                "that belong together"
            )
        alpha = self._of_layer("alpha_pattern", layer, "lora_alpha")
        if alpha is None:
            raise DoribError(f"{self.what}: lora_alpha is missing; restore the configuration")
        return alpha / (math.sqrt(rank) if self.content.get("use_rslora") else rank)

    def _of_layer(self, patterns: str, layer: str, otherwise: str) -> float | None:
        for key, value in self._pattern(patterns).items():
            if layer == key or (not key.startswith("^") and layer.endswith(f".{key}")):
                return value
            if key.startswith("^") and layer == key[1:]:
                return value
        return self._number(otherwise, self.content.get(otherwise))

    def _pattern(self, name: str) -> dict[str, float]:
        content = self.content.get(name) or {}
        if not isinstance(content, dict):
            raise DoribError(f"{self.what}: {name} is no mapping; restore the configuration")
        found = {}
        for key, value in content.items():
            plain = key.replace("\\.", ".").removesuffix("$")
            number = self._number(f"{name} of {key[:80]}", value)
            if not _PLAIN.fullmatch(plain.removeprefix("^")) or number is None:
                raise DoribError(
                    f"{self.what}: {name} names {key[:80]!r}, which is no layer's name; write the "
                    "names out, or fuse the adapter into the weights"
                )
            found[plain] = number
        return found

    def _number(self, name: str, value: object) -> float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
            raise DoribError(
                f"{self.what}: {name} is {str(value)[:40]}; it must be a positive number"
            )
        return float(value)
