"""What a metric may ask of a suite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from dorib.reprs import own_fields
from dorib.validation import StrictModel

if TYPE_CHECKING:
    from torch import Tensor


LONGEST_SIDE = 16_384
"""Pixels; what is longer is a slip of the pen, and would take all memory before it is noticed."""


MOST_STEPS = 10_000
"""Of sampling; ten times what any published schedule has."""


class SamplingSettings(StrictModel):
    """How images are generated."""

    height: int = Field(gt=0, le=LONGEST_SIDE)
    """Pixels."""
    width: int = Field(gt=0, le=LONGEST_SIDE)
    """Pixels."""
    steps: int = Field(gt=0, le=MOST_STEPS)
    guidance_scale: float = Field(ge=0)
    """As in diffusers: guidance is used where this exceeds 1."""


class DescriptorSettings(StrictModel):
    """A copy-detection descriptor of the suite, and where its threshold lies."""

    path: str | None = None
    """The descriptor's folder, relative to the suite; left out for the official SSCD."""
    official: bool = False
    """The official SSCD weights instead of a network of the suite's own."""
    threshold: float = Field(gt=-1, lt=1)
    false_positive_rate: float | None = Field(default=None, gt=0, lt=1)
    """Share of pairs of different images at or above the threshold, as calibrated; None where
    nobody calibrated it on the suite's images."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.official == (self.path is not None):
            raise ValueError("give the descriptor's path, or official: true, and not both")
        return self


@dataclass(frozen=True)
class MemorizedOriginal:
    """An original image of a memorized sample, to be read."""

    sample: str
    """The sample's id. One that has several originals stands there several times."""
    read: Callable[[], Tensor]
    """Gives the image, `[3, height, width]`, float32, in [0, 1], at the model's resolution; it is
    read from disk at each call, since a suite may have more of them than memory holds.

    Raises:
        DoribError: the file is no picture.
    """

    __repr__ = own_fields


@dataclass(frozen=True)
class SuiteView:
    """What a metric is handed of a suite: its settings, its components, and no caption or control.

    It is all that a method ever gets of a suite as a whole. A defender gets a `DefenderView`, an
    attack and a probe get `Target`s, and none of them this.
    """

    name: str
    sampling: SamplingSettings
    """How its images are generated."""
    descriptor: DescriptorSettings | None = None
    """Its copy-detection descriptor; None where it has none."""
    second_descriptor: DescriptorSettings | None = None
    """One that judges beside it and decides nothing; None where it has none."""
    clip: str | None = None
    """A transformers CLIP, as `component` takes it; None where the suite has none."""
    component: Callable[[str], str] = str
    """Gives a component's folder if the suite ships it, otherwise the hub id as it stands."""
    originals: Sequence[MemorizedOriginal] = ()
    """Those of the memorized samples of all splits, whatever the run's limits, for a metric whose
    `needs` name "originals"; none for any other. Samples without an original are left out."""

    __repr__ = own_fields
