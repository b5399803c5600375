"""Layers' names, short enough for figures and tables."""

from __future__ import annotations

import re


def short(layer: str) -> str:
    """A layer or block by its place: `down 0.1`, `mid`, `up 3.0`."""
    stage = layer.partition("_block")[0]
    numbers = re.findall(r"(?:_blocks|attentions|transformer_blocks)\.(\d+)", layer)
    if stage == "mid":
        numbers = [] if numbers[:1] == ["0"] else numbers[:1]
    elif numbers[2:] == ["0"]:
        numbers = numbers[:2]
    return f"{stage} {'.'.join(numbers)}".strip()
