"""What a U-Net is conditioned on, by name, and the tokens that it is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from dorib.reprs import own_fields

if TYPE_CHECKING:
    from torch import Tensor

Embeddings: TypeAlias = "Mapping[str, Tensor]"
"""Named conditioning tensors: `prompt_embeds` `[B, tokens, width]`; SDXL has
`pooled_prompt_embeds` `[B, pooled width]` beside it."""


@dataclass(frozen=True)
class Tokens:
    """Prompts as the text encoder reads them."""

    ids: Tensor
    """Int64 `[B, length]`: begin, words, end, and padding to the encoder's length."""
    lengths: Tensor
    """Int64 `[B]`: how many of them are no padding, begin and end included."""

    __repr__ = own_fields


def stacked(rows: Sequence[Embeddings]) -> Embeddings:
    """One batch of items that come without a batch axis."""
    import torch

    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def unstacked(embeddings: Embeddings) -> list[Embeddings]:
    """The items of a batch, without a batch axis."""
    names, columns = list(embeddings), embeddings.values()
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
