"""Replaying a part of the samples and utility prompts: which are drawn, and what stands in for the
others.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch

from dorib.contracts.seeds import Seeds
from dorib.errors import DoribError
from dorib.ranking.records import Record
from dorib.report.witnesses.values import Values
from dorib.verbs.context import Subject

SEEDS = 1 << 31


@dataclass(frozen=True)
class Lot:
    """Which samples of each cell are replayed, the same ones in all of them, and which utility
    prompts of each mitigation.
    """

    size: int
    """Of memorized samples and of controls, all where there are fewer; of utility prompts the same
    share as of the former.
    """
    seed: int
    """Whoever publishes must not know it beforehand."""

    @classmethod
    def of(cls, size: int, seed: int | None = None) -> Lot:
        """A lot with a seed that nobody knows yet, unless one is given.

        Raises:
            DoribError: nothing would be drawn, or the seed is negative.
        """
        if size < 1:
            raise DoribError(f"--draw {size}: give a number of samples from 1 up")
        if seed is not None and seed < 0:
            raise DoribError(f"--lot {seed}: give a number from 0 up")
        return cls(size, secrets.randbelow(SEEDS) if seed is None else seed)

    def drawn(self, subjects: Sequence[Subject]) -> frozenset[str]:
        """The ids of those drawn from `subjects`, in which each role stands together."""
        of_role = {
            role: [subject.id for subject in group]
            for role, group in groupby(subjects, lambda subject: subject.role)
        }
        ids: list[str] = []
        for role, names in of_role.items():
            size = self.size
            if role == "utility":
                size = math.ceil(len(names) * size / len(of_role["memorized"]))
            generator = Seeds(self.seed).generator("lot", role)
            order = torch.randperm(len(names), generator=generator)[:size]
            ids += [names[place] for place in order.tolist()]
        return frozenset(ids)


def records_as_published(
    labels: tuple[str, str | None],
    values: Values,
    subjects: Sequence[Subject],
    budgets: Sequence[int],
) -> Iterator[Record]:
    """What is published of `subjects`, as records; an error where nothing is.

    `labels` are those of mitigation and attack, None for utility prompts. Values that speak of a
    sample as a whole are not published, and so not among them.
    """
    rows = {place: row for row, place in enumerate(values.places)}
    for subject in subjects:
        for budget in budgets:
            row = rows.get((subject.id, budget))
            of_place = [
                (metric, seed, value)
                for metric, table in values.by_metric.items()
                for seed, value in enumerate(table[row].tolist() if row is not None else ())
                if value == value
            ]
            for metric, seed, value in of_place:
                yield _record(labels, subject, budget, metric, seed=seed, value=value)
            if not of_place:
                yield _record(labels, subject, budget, "published", error="without a value")


def _record(
    labels: tuple[str, str | None],
    subject: Subject,
    budget: int,
    metric: str,
    *,
    seed: int | None = None,
    value: float | None = None,
    error: str | None = None,
) -> Record:
    return Record(
        mitigation=labels[0],
        attack=labels[1],
        budget=budget,
        role=subject.role,
        sample=subject.id,
        cluster=subject.cluster,
        seed=seed,
        metric=metric,
        value=value,
        error=error,
    )
