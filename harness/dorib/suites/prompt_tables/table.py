"""How a suite.yaml names a prompt table."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from dorib.suites.paths import PossiblePath
from dorib.validation import StrictModel

Memorization: TypeAlias = Literal["verbatim", "template", "unknown"]


class PromptTable(StrictModel):
    """The entry `samples` of a suite.yaml, where it is a mapping."""

    table: PossiblePath
    """A CSV or JSONL file, a text with a prompt a line, or a folder that `datasets` saved."""
    images: PossiblePath = "images"
    """Folder of the originals: those of sample ID are ID.png (or .jpg, .webp) and ID/*."""
    only: Memorization | None = None
    """Keep the samples of this kind."""
    kind: Memorization | None = None
    """What every sample counts as, whatever the table says."""
    dev_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the clusters that rows without a split send to `dev`, by hash; the rest is test."""
    controls: PossiblePath | None = None
    """A folder of images the model never saw, with a metadata.jsonl (file_name, caption)."""
    ignore: tuple[str, ...] = ()
    """Columns to pass over; any other unknown column is refused."""
