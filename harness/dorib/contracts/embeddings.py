"""What a U-Net is conditioned on, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Embeddings: TypeAlias = "Mapping[str, Tensor]"
"""Named conditioning tensors: `prompt_embeds` `[B, tokens, width]`; SDXL has
`pooled_prompt_embeds` `[B, pooled width]` beside it."""


def stacked(rows: Sequence[Embeddings]) -> Embeddings:
    """One batch of items that come without a batch axis."""
    import torch

    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def unstacked(embeddings: Embeddings) -> list[Embeddings]:
    """The items of a batch, without a batch axis."""
    names, columns = list(embeddings), embeddings.values()
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
