"""What a descriptor is, whichever backend computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

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
