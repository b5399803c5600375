"""Entries: one (suite, mitigation, attack) cell with its intervals, budget, versions and hashes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from dorib.errors import DoribError
from dorib.reprs import own_fields
from dorib.validation import StrictModel, first_problem

ProfileName = Literal["quick", "full", "custom"]
ScopeName = Literal["global", "per_sample"]


class Facts(StrictModel):
    """Base of everything an entry holds; docstrings go into the published JSON schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    __repr__ = own_fields


class Rate(Facts):
    """A share of samples, with its exact (Clopper-Pearson) 95 % interval."""

    hits: int = Field(ge=0)
    n: int = Field(gt=0)
    """Samples, fixed before the run."""
    errors: int = Field(ge=0)
    """Samples among `n` that lack a value; without one they count as not replicating."""
    rate: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


class Interval(Facts):
    """A value with its 95 % interval, from a bootstrap."""

    value: float
    low: float
    high: float


class Summary(Facts):
    """One quantity's values in one place."""

    mean: float
    median: float
    median_absolute_deviation: float = Field(ge=0)
    """From that median; not scaled to a standard deviation."""
    n: int = Field(gt=0)
    """Values: images or samples, as the quantity's level says."""
    unit: str
    direction: Literal["lower is better", "higher is better", "neither"]
    level: Literal["image", "sample", "cell"]


class Summaries(Facts):
    """Every quantity besides `replicates`, at the largest budget."""

    memorized: dict[str, Summary] = Field(default={})
    controls: dict[str, Summary] = Field(default={})
    utility: dict[str, Summary] = Field(default={})


class BudgetPoint(Facts):
    """One point of the headline curve: how much work bought how many samples."""

    budget: int = Field(ge=0)
    """Search work allowed per sample, in U-Net items; 0 where nothing is searched."""
    memorized: Rate | None
    controls: Rate | None
    oracle: Rate | None
    """The oracle under the same attack at the same budget."""
    replication_rate: float | None = Field(ge=0, le=1)
    """Mean share of a memorized sample's images that replicate."""
    work: float = Field(ge=0)
    """Mean search work per memorized sample, in U-Net items."""
    medians: dict[str, float] = Field(default={})
    """Median of every other quantity over the memorized samples."""


class WorkToBreak(Facts):
    """Kaplan-Meier survival of the samples over the budgets."""

    budgets: tuple[int, ...]
    survival: tuple[float, ...]
    """Share of the samples not broken within each of `budgets`."""
    restricted_mean: float = Field(ge=0)
    """Mean work to break, in U-Net items, where at most the last budget is counted."""
    censored: int = Field(ge=0)
    """Samples that no budget broke."""
    n: int = Field(gt=0)


class Work(Facts):
    """Where the work went, in U-Net items; a forward is 1, a backward 2 more."""

    fit: int = Field(ge=0)
    search_mean_memorized: float = Field(ge=0)
    """Per sample, at the largest budget."""
    search_mean_controls: float = Field(ge=0)
    judging: int = Field(ge=0)
    """Generating the evaluation images: the runner's own work."""


class SuiteFacts(Facts):
    """Which suite, to the byte."""

    name: str
    version: str
    digest: str


class MethodFacts(Facts):
    """Which method, with which parameters and which code."""

    label: str
    """As typed: the name, with the parameters that differ from the defaults."""
    name: str
    plugin: str
    params: dict[str, Any]
    fingerprint: str


class Samples(Facts):
    """The denominators."""

    memorized: int = Field(ge=0)
    controls: int = Field(ge=0)
    clusters: int = Field(ge=0)
    """Source photographs of the memorized samples."""
    utility_prompts: int = Field(ge=0)
    unscorable: int = Field(ge=0)
    """Samples left out before the run because they have no original image."""


class Environment(Facts):
    """Versions, and where the model ran."""

    dorib: str
    torch: str
    diffusers: str
    transformers: str
    python: str
    device: str
    dtype: str


class Digests(Facts):
    """sha256 of what the entry was made from."""

    model: str
    edit: str
    triggers: str
    images: str
    records: str


class Entry(Facts):
    """A leaderboard row's cell: one mitigation under one attack."""

    schema_version: Literal[1] = 1
    suite: SuiteFacts
    split: str
    profile: ProfileName
    mitigation: MethodFacts
    scope: ScopeName
    attack: MethodFacts
    knows: tuple[str, ...]
    """The threat model: what the attacker holds."""
    searches: bool
    bypass: bool
    """The attack evades the mitigation by construction; what the weights hold is scored still."""
    not_applicable: str | None
    """Why the combination cannot be run at all, where it cannot."""
    k: int = Field(gt=0)
    """Evaluation images per sample and trigger."""
    samples: Samples
    curve: tuple[BudgetPoint, ...]
    """By rising budget."""
    memorization_rate: Rate | None
    """`memorization_rate@k` at the largest budget; None where no metric reports replication."""
    controls_rate: Rate | None
    oracle_rate: Rate | None
    replication_rate: float | None = Field(ge=0, le=1)
    erasure_gap: Interval | None
    """None for the oracle, and where there is nothing to compare with."""
    gap_reference: Literal["oracle", "controls"] | None
    recovered_share: float | None
    utility: Interval | None
    """Alignment as a share of the span between shuffled captions and the unmitigated model."""
    utility_by_kind: dict[str, Interval] = Field(default={})
    """The same over the prompts of each kind, where the suite tells kinds apart."""
    summaries: Summaries
    work_to_break: WorkToBreak | None
    """None where nothing is searched."""
    work_to_break_controls: WorkToBreak | None
    work: Work
    smallest_batch: int | None = Field(default=None, gt=0)
    """Batches did not fit into the device's memory and were halved down to so many items; None
    where they fitted."""
    errors: int = Field(ge=0)
    """Samples and utility prompts with an error or without a value."""
    ranked: bool
    reason_not_ranked: str | None
    reference_line: bool
    """`none` and the oracle: what the others are compared with."""
    stack: dict[str, dict[str, str | float | None]]
    """By metric: descriptor weights' hash, resize rule, normalisation, threshold."""
    environment: Environment
    digests: Digests


def read_entry(path: Path | str) -> Entry:
    """Read an entry's file.

    Raises:
        DoribError: it cannot be read, or is no entry of this version.
    """
    try:
        return Entry.model_validate_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DoribError(f"{path}: cannot be read ({error}); restore the file") from error
    except ValidationError as error:
        raise DoribError(
            f"{path}: no entry ({first_problem(error)}); rank the run again"
        ) from error
