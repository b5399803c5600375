"""What a descriptor is, whichever backend computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import Tensor

from dorib_sscd.views import Views

Describe: TypeAlias = Callable[[Tensor], Tensor]
"""From RGB images `[B, 3, H, W]`, float32 in [0, 1] on the CPU, to descriptors `[B, D]`."""


@dataclass(frozen=True)
class Descriptor:
    """A loaded descriptor, and everything its cosines depend on."""

    describe: Describe
    backend: str
    weights_sha256: str
    """Of the weights file's bytes."""
    resize: str
    normalisation: str
    threshold: float
    """Cosine from which an image replicates."""
    false_positive_rate: float | None = None
    """Of the threshold, where it was calibrated: share of pairs of different images above it."""
    largest_batch: int | None = None
    """Images that may be described together; None: any number."""
    official: bool = False
    """Whether it is the official SSCD, whose cosines the literature's thresholds are of."""
    views: Views = field(default_factory=Views)
    """In which originals are described."""

    def stack(self) -> dict[str, str | float | None]:
        """What the cosines depend on; `false_positive_rate` None where it is not known.

        `official` is there where the official SSCD judges: entries then hold the rates at the
        literature's thresholds as well. `views` is there where an original has several.
        """
        return {
            "backend": self.backend,
            "weights_sha256": self.weights_sha256,
            "resize": self.resize,
            "normalisation": self.normalisation,
            "threshold": self.threshold,
            "false_positive_rate": self.false_positive_rate,
            # Left out for others, whose stack and records stay what they were.
            **({"official": "yes"} if self.official else {}),
            **({"views": str(self.views)} if self.views else {}),
        }
