"""What a run knows about itself before any record is read: its cells and their denominators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dorib.contracts.methods import Quantity
from dorib.contracts.params import Scope
from dorib.ranking.entry_fields import (
    Digests,
    Environment,
    MethodFacts,
    ProfileName,
    RunSettings,
    SuiteFacts,
)


@dataclass(frozen=True)
class SampleFacts:
    """One sample of the denominator."""

    id: str
    cluster: str
    """The source photograph."""


@dataclass(frozen=True)
class RunFacts:
    """What all cells of a run share. Its samples are the denominators, fixed before the run."""

    suite: SuiteFacts
    split: str
    profile: ProfileName
    k: int
    """Evaluation images per sample and trigger."""
    memorized: tuple[SampleFacts, ...]
    controls: tuple[SampleFacts, ...]
    utility_prompts: tuple[str, ...]
    """Their ids; none where no metric needs them."""
    budgets: tuple[int, ...]
    """Search work per sample, in U-Net items, strictly rising."""
    quantities: Mapping[str, Quantity]
    stack: Mapping[str, Mapping[str, str | float | None]]
    """By metric."""
    environment: Environment
    oracle: str | None = None
    """The label of the mitigation that is the oracle; None where it was not run."""
    utility_kinds: Mapping[str, str] = field(default_factory=dict)
    """Kinds of the utility prompts that have one, by id."""
    required_attacks: tuple[str, ...] = ()
    """Labels of those that the suite ranks by; empty where all that were run do."""
    thresholds: tuple[float, ...] = ()
    """Cosines, rising, at which the rates are told beside the suite's threshold."""
    probes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What whoever probes holds, by the probe's label."""
    unscorable: int = 0
    """Samples left out before the run, having no original image."""


@dataclass(frozen=True)
class CellFacts:
    """One mitigation under one attack."""

    mitigation: MethodFacts
    scope: Scope
    attack: MethodFacts
    knows: frozenset[str]
    searches: bool
    """False: the cell has budget 0 only."""
    digests: Digests
    work: Mapping[tuple[str, int], int]
    """Search work by (sample id, budget), in U-Net items."""
    fit_work: int
    judging_work: int
    smallest_batch: int | None = None
    """Items that were run together where memory ran out; None where it did not."""
    bypass: bool = False
    adaptive: bool | None = None
    """Whether the search felt the sampling rules that act on its triggers."""
    rule_work: float = 0
    """What these cost an image, in U-Net items."""
    not_applicable: str | None = None
    """Why the combination cannot be run at all, where it cannot."""
    environment: Environment | None = None
    """Where it was made, if not where the run as a whole was."""
    settings: RunSettings | None = None
    """What its run was told."""
    older: str | None = None
    """What has changed since it was made; None where nothing has."""
