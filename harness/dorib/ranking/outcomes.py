"""Outcomes: which samples replicate in which cell, with denominators fixed before the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dorib.contracts.methods import REPLICATES, SECOND_REPLICATES
from dorib.ranking.facts import CellFacts, RunFacts, SampleFacts
from dorib.ranking.observations import LIKENESS, Observations, Place
from dorib.ranking.rates import Rate, Verdicts, has_second_judge
from dorib.ranking.statistics import clopper_pearson

Role = Literal["memorized", "control"]


@dataclass(frozen=True)
class Outcome:
    """Which samples of a group are broken within one budget; in the order of the group.

    An attacker keeps what worked: a sample that breaks at a smaller budget is broken.

    What was not seen to replicate counts as not doing so: a crash never shrinks the denominator,
    and `errors` says whom it touched.
    """

    hits: tuple[bool, ...]
    """At least one of the sample's k images replicates, at this budget or a smaller one."""
    replication_rate: float
    """Mean share of a sample's k images at this very budget that replicate."""
    errors: frozenset[str]
    """Samples that lack one of their k values, at this budget or a smaller one."""

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

    @property
    def attacks(self) -> tuple[str, ...]:
        """The labels of all attacks that were run, in order."""
        return tuple(dict.fromkeys(attack for _, attack in self._cells))

    def at(
        self,
        cell: CellFacts | None,
        budget: int,
        role: Role,
        threshold: float | None = None,
        *,
        second: bool = False,
    ) -> Outcome | None:
        """What is broken within one budget: of images that replicate by the suite's threshold, or
        whose likeness reaches `threshold`, or by the `second` judge's verdict.

        None where the cell was not run at it, the group is empty or nothing tells of replication.
        """
        group = self.group(role)
        own = SECOND_REPLICATES if second else REPLICATES
        quantity = own if threshold is None else LIKENESS
        if cell is None or budget not in self.budgets(cell) or not group:
            return None
        if quantity not in self.run.quantities:
            return None
        hits, errors = set[str](), set[str]()
        shares: list[float] = []
        for each in (b for b in self.budgets(cell) if b <= budget):
            seen = self._observations.by_sample(place(cell, each, role), quantity)
            shares = []
            for sample in group:
                values = seen.get(sample.id, [])
                replicas = [v > 0 if threshold is None else v >= threshold for v in values]
                shares.append(sum(replicas) / self.run.k)
                hits |= {sample.id} if any(replicas) else set()
                errors |= {sample.id} if len(values) < self.run.k else set()
        return Outcome(
            hits=tuple(sample.id in hits for sample in group),
            replication_rate=float(np.mean(shares)),
            errors=frozenset(errors),
        )

    def last(
        self,
        cell: CellFacts | None,
        role: Role,
        threshold: float | None = None,
        *,
        second: bool = False,
    ) -> Outcome | None:
        """What is broken within the largest budget, as `at` has it."""
        budgets = self.budgets(cell) if cell else ()
        return self.at(cell, budgets[-1], role, threshold, second=second) if budgets else None

    def verdicts(self, cell: CellFacts, role: Role) -> Verdicts:
        """The first and the second judge on each image that the first has judged, at all budgets.

        What the second says nothing of counts as no copy to it, as everywhere.
        """
        counts: Counter[tuple[bool, bool]] = Counter()
        group = {sample.id for sample in self.group(role)}
        for budget in self.budgets(cell):
            first, second = (
                self._observations.by_image(place(cell, budget, role), quantity)
                for quantity in (REPLICATES, SECOND_REPLICATES)
            )
            counts.update(
                (value > 0, second.get(image, 0) > 0)
                for image, value in first.items()
                if image[0] in group
            )
        same = counts[True, True] + counts[False, False]
        return Verdicts(
            both=counts[True, True],
            first_alone=counts[True, False],
            second_alone=counts[False, True],
            neither=counts[False, False],
            agreement=same / counts.total() if counts else None,
        )

    def errors(self, cell: CellFacts) -> set[str]:
        """Samples with an error, or without a value that was asked for, at any budget."""
        errors: set[str] = set()
        roles: tuple[Role, ...] = ("memorized", "control")
        for budget in self.budgets(cell):
            for role in roles:
                errors |= self._observations.errors(place(cell, budget, role))
                for second in (False, True) if has_second_judge(self.run.stack) else (False,):
                    outcome = self.at(cell, budget, role, second=second)
                    errors |= outcome.errors if outcome else set()
        return errors

    def group(self, role: Role) -> tuple[SampleFacts, ...]:
        """The samples of a role: the denominator."""
        return self.run.memorized if role == "memorized" else self.run.controls


def place(cell: CellFacts, budget: int, role: Role) -> Place:
    """Where a cell's samples are measured."""
    return Place(cell.mitigation.label, cell.attack.label, budget, role)
