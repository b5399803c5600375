"""What `suite.yaml` and the sample table may say."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import (
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from dorib.contracts.params import Budgets
from dorib.contracts.specs import spec_of
from dorib.contracts.suite_view import DescriptorSettings, SamplingSettings
from dorib.suites.fetch.sources import FetchSpec
from dorib.suites.paths import PossiblePath
from dorib.suites.prompt_tables import Memorization, PromptTable
from dorib.validation import StrictModel

LARGEST_BATCH = 65_536
"""More fit on no accelerator."""

# A sample's id becomes part of file names, so what it may hold is narrow.
SAMPLE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


Orientation: TypeAlias = Literal["apply", "ignore"]


class Sample(StrictModel):
    """One row of a suite's sample table."""

    id: str
    caption: str = Field(pattern=r"\S")
    images: tuple[PossiblePath, ...] = ()
    """Originals, relative to the suite folder; a template sample may have several."""
    role: Literal["memorized", "control"]
    urls: tuple[str, ...] = ()
    """Where `dorib fetch` finds originals, beside `images`."""
    kind: Memorization = "unknown"
    split: str = "test"
    duplication: int = Field(default=1, ge=0)
    cluster: str = Field(min_length=1)
    """The source photograph: resampling unit of every interval."""
    licence: str = ""
    source: str = ""

    @field_validator("id")
    @classmethod
    def _plain_id(cls, value: str) -> str:
        if not SAMPLE_ID.fullmatch(value):
            raise ValueError("an id is 1 to 64 letters, digits, '.', '_' or '-'")
        return value


class Profile(StrictModel):
    """How much of the suite one run uses."""

    memorized: int | None = Field(default=None, gt=0)
    """Number of memorized samples; None for all of the split."""
    controls: int | None = Field(default=None, ge=0)
    """Number of controls; None for all of the split."""
    seeds: int = Field(gt=0, le=1000)
    """Evaluation images per sample and trigger: the k of memorization_rate@k."""
    budgets: Budgets
    utility: int = Field(gt=0, le=1_000_000)
    """Number of utility prompts."""


def _form(value: object) -> Literal["mapping", "file"]:
    return "mapping" if isinstance(value, dict | PromptTable) else "file"


SampleTable: TypeAlias = Annotated[
    Annotated[PossiblePath, Tag("file")] | Annotated[PromptTable, Tag("mapping")],
    Discriminator(_form),
]
"""A JSONL sample table by its path, or a prompt table with what there is to say of it."""


class Manifest(StrictModel):
    """The content of `suite.yaml`."""

    name: str
    version: str
    title: str = ""
    licence: str = ""
    pipeline: PossiblePath
    """A diffusers pipeline folder or a single safetensors file, relative to the suite or by its
    absolute path, or a hub id."""
    pipeline_config: PossiblePath | None = None
    """For a single file: a diffusers folder with the configurations and the tokenizer."""
    oracle: PossiblePath | None = None
    """A U-Net folder: trained without the memorized samples, everything else equal."""
    descriptor: DescriptorSettings | None = None
    second_descriptor: DescriptorSettings | None = None
    """Independent of the first; judges beside it and decides nothing."""
    clip: PossiblePath | None = None
    """A transformers CLIP folder, relative to the suite, or a hub id."""
    samples: SampleTable = "samples.jsonl"
    utility: PossiblePath = "utility.jsonl"
    general: PossiblePath = "general.jsonl"
    fetch: FetchSpec | None = None
    """What `dorib fetch` brings into the user's cache."""
    sampling: SamplingSettings
    quick: Profile
    full: Profile
    batch_size: int = Field(default=8, gt=0, le=LARGEST_BATCH)
    orientation: Orientation = "apply"
    """Whether originals are turned as their EXIF orientation says."""
    required_attacks: tuple[str, ...] = ()
    """What a mitigation must have been attacked by to have a rank; none: by all of its run's."""

    @model_validator(mode="after")
    def _second_is_another(self) -> Self:
        second = self.second_descriptor
        if second is None:
            return self
        if self.descriptor is None:
            raise ValueError("second_descriptor: there is no first; name it as descriptor")
        if second.path == self.descriptor.path:
            raise ValueError("second_descriptor: is the first once more; name another, or none")
        return self

    @field_validator("required_attacks")
    @classmethod
    def _attack_labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(str(spec_of(attack)) for attack in value))

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", value):
            raise ValueError("a suite's name is lower-case letters, digits and hyphens")
        return value
