"""What a metric may ask of a suite."""

from __future__ import annotations

from typing import Protocol, Self

from pydantic import Field, model_validator

from dorib.validation import StrictModel


class SamplingSettings(StrictModel):
    """How images are generated."""

    height: int = Field(gt=0)
    """Pixels."""
    width: int = Field(gt=0)
    """Pixels."""
    steps: int = Field(gt=0)
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


class SuiteView(Protocol):
    """A suite as a metric sees it: its settings and its components, and none of its samples."""

    @property
    def name(self) -> str:
        """The suite's name."""

    @property
    def sampling(self) -> SamplingSettings:
        """How its images are generated."""

    @property
    def descriptor(self) -> DescriptorSettings | None:
        """Its copy-detection descriptor; None where it has none."""

    @property
    def second_descriptor(self) -> DescriptorSettings | None:
        """One that judges beside it and decides nothing; None where it has none."""

    @property
    def clip(self) -> str | None:
        """A transformers CLIP, as `component` takes it; None where the suite has none."""

    def component(self, reference: str) -> str:
        """A component's folder if the suite ships it, otherwise the hub id as it stands."""
