"""What an entry holds: one (suite, mitigation, attack) cell, its intervals, versions and hashes."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from dorib.contracts.cards import MethodCard
from dorib.contracts.params import Scope
from dorib.ranking.rates import (
    Count,
    Facts,
    Interval,
    Positive,
    ProbeResult,
    Rate,
    SecondJudge,
    Sha256,
    ThresholdRates,
    UtilityShare,
    WorkToBreak,
    is_absent,
)

ProfileName = Literal["quick", "full", "custom"]


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters whose numbers every JSON reader has alike."""
    pending: list[Any] = [*params.values()]
    while pending:
        value = pending.pop()
        if isinstance(value, dict | list):
            pending += value.values() if isinstance(value, dict) else value
        elif isinstance(value, int) and abs(value) > 2**63:
            raise ValueError("holds a number beyond 2**63")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError("holds a number that is not finite")
    return params


class Summary(Facts):
    """One quantity's values in one place."""

    mean: float
    median: float
    median_absolute_deviation: float = Field(ge=0)
    """From that median; not scaled to a standard deviation."""
    n: Positive
    """Values: images or samples, as the quantity's level says."""
    unit: str
    direction: Literal["lower is better", "higher is better", "neither"]
    level: Literal["image", "sample", "cell"]
    in_table: bool = False
    """The metric asks for a column of it in the run's table."""


class Summaries(Facts):
    """Every quantity besides verdicts, over the images at the largest budget."""

    memorized: dict[str, Summary] = Field(default_factory=dict)
    controls: dict[str, Summary] = Field(default_factory=dict)
    utility: dict[str, Summary] = Field(default_factory=dict)


class BudgetPoint(Facts):
    """One point of the headline curve: how much work bought how many samples.

    Its rates are of the samples broken within the budget: what broke at a smaller one stays broken.
    (In version 1 they were of those that break at this very budget.)
    """

    budget: Count
    """Search work allowed per sample, in U-Net items; 0 where nothing is searched."""
    memorized: Rate | None
    controls: Rate | None
    oracle: Rate | None
    """The oracle under the same attack at the same budget."""
    replication_rate: float | None = Field(ge=0, le=1)
    """Mean share of a memorized sample's images at this very budget that replicate."""
    work: float = Field(ge=0)
    """Mean search work per memorized sample, in U-Net items."""
    medians: dict[str, float] = Field(default_factory=dict)
    """Median of every other quantity at this very budget, over the memorized samples' images, or
    over the samples where the quantity speaks of one as a whole."""


class Work(Facts):
    """Where the work went, in U-Net items; a forward is 1, a backward 2 more."""

    fit: Count
    search_mean_memorized: float = Field(ge=0)
    """Per sample, at the largest budget."""
    search_mean_controls: float = Field(ge=0)
    judging: Count
    """Generating the evaluation images: the runner's own work."""
    rule: float = Field(default=0, ge=0)
    """What a sampling rule itself asks of the U-Net, mean per image."""


class SuiteFacts(Facts):
    """Which suite, to the byte."""

    name: str
    version: str
    digest: Sha256


class MethodFacts(Facts):
    """Which method, with which parameters and which code."""

    label: str
    """As typed: the name, with the parameters that differ from the defaults."""
    name: str
    plugin: str
    params: Annotated[dict[str, Any], AfterValidator(_plain)]
    fingerprint: Sha256
    card: MethodCard | None = None
    """Title, authors and references, as its plugin brings them; None before version 4."""


class Samples(Facts):
    """The denominators."""

    memorized: Count
    controls: Count
    clusters: Count
    """Source photographs of the memorized samples."""
    utility_prompts: Count
    unscorable: Count
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
    processor: str | None = Field(default=None, exclude_if=is_absent)
    """Name of the card, or of the processor where there is none."""
    threads: Positive | None = Field(default=None, exclude_if=is_absent)
    """Threads of a processor that one operation may take."""


class RunSettings(Facts):
    """What a run was told that decides numbers, and that stands nowhere else in an entry."""

    root_seed: Count
    limit: Positive | None = None
    """At most so many memorized samples, and as many controls."""
    batch_size: Positive | None = None
    """In place of the suite's."""


class Digests(Facts):
    """sha256 of what the entry was made from."""

    model: Sha256
    edit: Sha256 | Literal[""]
    """Empty where the mitigation failed."""
    triggers: Sha256
    images: Sha256
    records: Sha256


class EntryFields(Facts):
    """The fields of an entry, each by itself; `Entry` sees to it that they agree."""

    schema_version: Literal[1, 2, 3, 4]
    """Since version 2, rates are of the samples broken within a budget (`curve`), and
    `required_attacks` are stated; since version 3, `second_judge` is; since version 4, methods may
    have their cards."""
    suite: SuiteFacts
    split: str
    profile: ProfileName
    mitigation: MethodFacts
    scope: Scope
    attack: MethodFacts
    knows: tuple[str, ...]
    """The threat model: what the attacker holds."""
    searches: bool
    bypass: bool
    """The attack evades the mitigation by construction; what the weights hold is scored still."""
    adaptive: bool | None = None
    """Whether the search felt the sampling rules that act on its triggers: where it did not, the
    mitigation is not robust but untested. None where no rule acts, or nothing was searched."""
    not_applicable: str | None
    """Why the combination cannot be run at all, where it cannot."""
    k: Positive
    """Evaluation images per sample and trigger."""
    required_attacks: tuple[str, ...] | None = None
    """Labels of those that the suite ranks by; where it names none, of all that were run. None in
    version 1."""
    samples: Samples
    curve: tuple[BudgetPoint, ...]
    """By rising budget."""
    memorization_rate: Rate | None
    """`memorization_rate@k` within the largest budget; None where no metric reports replication."""
    controls_rate: Rate | None
    oracle_rate: Rate | None
    replication_rate: float | None = Field(ge=0, le=1)
    erasure_gap: Interval | None
    """None for the oracle, and where there is nothing to compare with."""
    gap_reference: Literal["oracle", "controls"] | None
    recovered_share: float | None
    rates_at_thresholds: tuple[ThresholdRates, ...] = ()
    """Where the official SSCD descriptor judges, the rates at both thresholds of the literature."""
    second_judge: SecondJudge | None = None
    """Where the suite has a second descriptor, what it says of the same images."""
    utility: UtilityShare | None
    """Alignment as a share of the span between shuffled captions and the unmitigated model."""
    utility_by_kind: dict[str, UtilityShare] = Field(default_factory=dict)
    """The same over the prompts of each kind, where the suite tells kinds apart: the span is that
    between all other captions of the kind and the unmitigated model."""
    prompts_without_reference: Count = 0
    """Utility prompts left out because the unmitigated model has no value for them."""
    summaries: Summaries
    probes: dict[str, ProbeResult] = Field(default_factory=dict)
    """By label: how well scores part memorized samples from controls, without an image."""
    work_to_break: WorkToBreak | None
    """None where nothing is searched."""
    work_to_break_controls: WorkToBreak | None
    work: Work
    smallest_batch: Positive | None = None
    """Batches did not fit into the device's memory and were halved down to so many items; None
    where they fitted."""
    errors: Count
    """Samples and utility prompts with an error or without a value."""
    ranked: bool
    reason_not_ranked: str | None
    reference_line: bool
    """`none` and the oracle: what the others are compared with."""
    stack: dict[str, dict[str, str | float | None]]
    """By metric: descriptor weights' hash, resize rule, normalisation, threshold."""
    environment: Environment
    digests: Digests
    settings: RunSettings | None = Field(default=None, exclude_if=is_absent)
    """Left out where an earlier dorib made the entry."""
    older: str | None = Field(default=None, exclude_if=is_absent)
    """What has changed since another run made this cell of the leaderboard; left out where
    nothing has."""
