"""Captions that are longer than what the text encoder reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol


class Captioned(Protocol):
    """What a caption is asked of."""

    @property
    def id(self) -> str:
        """A sample's, or a utility prompt's."""

    @property
    def caption(self) -> str:
        """The caption."""


def note_of_cut_captions(tokenizers: Iterable[Any], subjects: Iterable[Captioned]) -> str | None:
    """What a reader should know of captions that the encoder cuts; None where there is none.

    `tokenizers` are transformers': one is read to its `model_max_length`, its own start and end
    included.
    """
    readers = [tokenizer for tokenizer in tokenizers if tokenizer is not None]
    cut = [one.id for one in subjects if any(_is_cut(reader, one.caption) for reader in readers)]
    if not cut:
        return None
    longest = min(reader.model_max_length for reader in readers)
    captions = "caption is" if len(cut) == 1 else "captions are"
    return (
        f"{len(cut)} {captions} longer than the {longest} tokens that the text encoder reads: what "
        f"is beyond was cut, first in {cut[0]}"
    )


def tokenizers_of(pipeline: Any) -> Iterator[Any]:
    """A pipeline's tokenizers: one, or SDXL's two."""
    for name in ("tokenizer", "tokenizer_2"):
        if getattr(pipeline, name, None) is not None:
            yield getattr(pipeline, name)


def _is_cut(tokenizer: Any, caption: str) -> bool:
    tokens = tokenizer(caption, truncation=False, verbose=False).input_ids
    return bool(len(tokens) > tokenizer.model_max_length)
