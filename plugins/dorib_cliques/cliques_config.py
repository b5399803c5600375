"""What one `dorib cliques` is asked to do."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from dorib import MethodSpec, RunConfig

EVERY_SPLIT = "all"


class CliquesConfig(RunConfig):
    """One `dorib cliques`: a run's options, and what counts as a clique."""

    split: str = EVERY_SPLIT
    """Whose memorized samples; by default those of all splits."""
    metric: tuple[MethodSpec, ...] = (MethodSpec(name="sscd"),)
    """What tells whether an image replicates another."""
    images: int = Field(default=50, ge=2, le=1000)
    """Images drawn of each prompt; 50 as in MemBench."""
    smallest: int = Field(default=3, ge=2)
    """Members that a clique needs; 3 as in MemBench. A prompt with fewer stays without original."""
    to: Path
    """The folder of the suite that is written; it must not exist yet."""

    @model_validator(mode="after")
    def _can_be_found(self) -> Self:
        if self.smallest > self.images:
            raise ValueError(
                f"smallest: {self.smallest} images cannot be alike among {self.images}; raise "
                "images, or lower smallest"
            )
        return self
