"""What metrics look at: the generations of a cell, and what came in place of those that failed."""

from __future__ import annotations

from dataclasses import dataclass

from dorib.contracts.views import Generation
from dorib.store.fingerprint import digest
from dorib.verbs.attack import Attacked
from dorib.verbs.context import RunContext, Subject
from dorib.verbs.generate import Generated, Request
from dorib.verbs.mitigate import Mitigated


@dataclass(frozen=True)
class Judged:
    """One subject at one budget: what one metric looks at together."""

    subject: Subject
    budget: int

    @property
    def item(self) -> str:
        """Its name in the store: records state role and cluster beside what the tag stands for."""
        of = self.subject
        return f"{of.id}-{digest([of.tag, of.role, of.cluster])[:12]}.b{self.budget}"


@dataclass(frozen=True)
class Cell:
    """What is measured: one mitigation under one attack, or on the utility prompts."""

    mitigated: Mitigated
    attacked: Attacked | None
    generated: Generated
    seeds: tuple[int, ...]
    twins: Generated | None = None
    """The unmitigated model's images from the same prompts and seeds."""

    @property
    def mitigation(self) -> str:
        """The mitigation's label."""
        return self.mitigated.method.label

    @property
    def attack(self) -> str | None:
        """The attack's label; None for utility prompts."""
        return self.attacked.method.label if self.attacked else None

    @property
    def label(self) -> str:
        """The cell in words."""
        return f"{self.mitigation} x {self.attack or 'utility prompts'}"

    @property
    def budgets(self) -> tuple[int, ...]:
        """The budgets it was made at."""
        return self.attacked.budgets if self.attacked else (0,)

    def failure(self, judged: Judged, *, with_twins: bool) -> str | None:
        """The error that came in place of one of the images; None where all are there."""
        if self.attacked and judged.subject.id in self.attacked.failures:
            return self.attacked.failures[judged.subject.id]
        for request in self._requests(judged):
            if reason := self.generated.failures.get(request.item):
                return reason
        for request in self._requests_of_twins(judged) if with_twins else ():
            if self.twins and request.item not in self.twins.shelf:
                reason = self.twins.failures.get(request.item, "its attack failed")
                return f"the unmitigated model's image is missing: {reason}"
        return None

    def generation(self, context: RunContext, judged: Judged, *, with_twins: bool) -> Generation:
        """One subject's images at one budget, read from the store."""
        twins = None
        if self.twins and with_twins:
            twins = self.twins.images(self._requests_of_twins(judged))
        return Generation(
            sample=judged.subject.id,
            caption=judged.subject.caption,
            seeds=self.seeds,
            images=self.generated.images(self._requests(judged)),
            originals=context.originals(judged.subject),
            twins=twins,
            other_caption=judged.subject.other_caption,
            captions_of_kind=judged.subject.captions_of_kind,
        )

    def _requests(self, judged: Judged) -> list[Request]:
        return [Request(judged.subject, judged.budget, seed) for seed in self.seeds]

    def _requests_of_twins(self, judged: Judged) -> list[Request]:
        return [Request(judged.subject, 0, seed) for seed in self.seeds]
