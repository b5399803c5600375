"""A run on its way: what was asked for, and what has been made so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dorib.host.configure import Configured
from dorib.ranking.entry_fields import ProfileName
from dorib.ranking.records import Record
from dorib.report.board.computing import Stopwatch
from dorib.report.board.publishing import Publisher
from dorib.verbs.context import RunContext, Subject
from dorib.verbs.generate import Generated
from dorib.verbs.judging import Cell


@dataclass
class Run:
    """One run on its way: what is resolved, and what has been made so far."""

    context: RunContext
    out: Path
    profile_name: ProfileName
    mitigations: list[Configured]
    attacks: list[Configured]
    metrics: list[Configured]
    probes: list[Configured]
    records: list[Record] = field(default_factory=list)
    made: dict[tuple[str, str], Cell] = field(default_factory=dict)
    publisher: Publisher | None = None
    """Once it is known that the run may stand on the board in its folder."""
    stopwatch: Stopwatch | None = None
    """Of what is computed."""
    computed_of_mitigation: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was computed before the mitigation at hand was attacked, by its name."""
    utility_twins: Generated | None = None
    """The unmitigated model's images of the utility prompts, once they are made."""
    drawn: frozenset[str] | None = None
    """Ids of the samples and utility prompts of which images are drawn and judged; None: all."""

    @property
    def subjects(self) -> list[Subject]:
        """The samples that are attacked, memorized ones first."""
        return [*self.context.memorized, *self.context.controls]

    @property
    def judged(self) -> list[Subject]:
        """Those of them of which images are drawn and judged."""
        return self._drawn_of(self.subjects)

    @property
    def judged_prompts(self) -> list[Subject]:
        """The utility prompts of which images are drawn and judged."""
        return self._drawn_of(self.context.utility_prompts if self.needs_utility else ())

    @property
    def needs_utility(self) -> bool:
        """Whether a metric judges the utility prompts."""
        return any("utility" in metric.metric.needs for metric in self.metrics)

    def _drawn_of(self, subjects: Sequence[Subject]) -> list[Subject]:
        drawn = self.drawn
        return [subject for subject in subjects if drawn is None or subject.id in drawn]
