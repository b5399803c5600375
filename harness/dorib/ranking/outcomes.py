"""Outcomes: which samples replicate in which cell, with denominators fixed before the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dorib.ranking.entries import Rate
from dorib.ranking.facts import CellFacts, RunFacts, SampleFacts
from dorib.ranking.observations import REPLICATES, Observations, Place
from dorib.ranking.statistics import clopper_pearson

Role = Literal["memorized", "control"]


@dataclass(frozen=True)
class Outcome:
    """Which samples of a group replicate at one budget; in the order of the group.

    What was not seen to replicate counts as not doing so: a crash never shrinks the denominator,
    and `errors` says whom it touched.
    """

    hits: tuple[bool, ...]
    """At least one of the sample's k images replicates."""
    replication_rate: float
    """Mean share of a sample's k images that replicate."""
    errors: frozenset[str]
    """Samples that lack one of their k values."""

    @property
    def rate(self) -> Rate:
        """The share of samples that replicate."""
        n, hits = len(self.hits), sum(self.hits)
        low, high = clopper_pearson(hits, n)
        return Rate(hits=hits, n=n, errors=len(self.errors), rate=hits / n, low=low, high=high)


class Outcomes:
    """The outcomes of all cells of one run."""

    def __init__(
        self, run: RunFacts, cells: Sequence[CellFacts], observations: Observations
    ) -> None:
        self.run = run
        self._cells = {(cell.mitigation.label, cell.attack.label): cell for cell in cells}
        self._observations = observations

    def cell(self, mitigation: str, attack: str) -> CellFacts | None:
        """The cell of two labels; None where it was not run."""
        return self._cells.get((mitigation, attack))

    def oracle(self, cell: CellFacts) -> CellFacts | None:
        """The oracle under the cell's attack; None where it was not run."""
        return self.cell(self.run.oracle, cell.attack.label) if self.run.oracle else None

    def budgets(self, cell: CellFacts) -> tuple[int, ...]:
        """The budgets that the cell was run at."""
        if cell.not_applicable is not None:
            return ()
        return self.run.budgets if cell.searches else (0,)

    def at(self, cell: CellFacts | None, budget: int, role: Role) -> Outcome | None:
        """The outcome at one budget.

        None where the cell was not run at it, the group is empty or nothing tells of replication.
        """
        group = self._group(role)
        if cell is None or budget not in self.budgets(cell) or not group:
            return None
        if REPLICATES not in self.run.quantities:
            return None
        seen = self._observations.by_sample(place(cell, budget, role), REPLICATES)
        values = [seen.get(sample.id, []) for sample in group]
        return Outcome(
            hits=tuple(any(images) for images in values),
            replication_rate=float(np.mean([sum(map(bool, v)) / self.run.k for v in values])),
            errors=frozenset(
                s.id for s, v in zip(group, values, strict=True) if len(v) < self.run.k
            ),
        )

    def last(self, cell: CellFacts | None, role: Role) -> Outcome | None:
        """The outcome at the largest budget."""
        budgets = self.budgets(cell) if cell else ()
        return self.at(cell, budgets[-1], role) if budgets else None

    def errors(self, cell: CellFacts) -> set[str]:
        """Samples with an error, or without a value that was asked for, at any budget."""
        errors: set[str] = set()
        roles: tuple[Role, ...] = ("memorized", "control")
        for budget in self.budgets(cell):
            for role in roles:
                errors |= self._observations.errors(place(cell, budget, role))
                outcome = self.at(cell, budget, role)
                errors |= outcome.errors if outcome else set()
        return errors

    def _group(self, role: Role) -> tuple[SampleFacts, ...]:
        return self.run.memorized if role == "memorized" else self.run.controls


def place(cell: CellFacts, budget: int, role: Role) -> Place:
    """Where a cell's samples are measured."""
    return Place(cell.mitigation.label, cell.attack.label, budget, role)
