"""Samples without an original: nothing can be compared with it, and none may pass for erased."""

from __future__ import annotations

from collections.abc import Sequence

from dorib.ranking.observations import UNSCORABLE
from dorib.ranking.records import Record
from dorib.verbs.context import Subject
from dorib.verbs.judging import Cell

REASON = "it has no original image"


def unscorable_records(cell: Cell, subjects: Sequence[Subject]) -> list[Record]:
    """A record for each of `subjects` and budget that says why it has no value.

    They belong to no denominator, which are fixed before the run; an entry states their number.
    """
    return [
        Record(
            mitigation=cell.mitigation,
            attack=cell.attack,
            budget=budget,
            role=subject.role,
            sample=subject.id,
            cluster=subject.cluster,
            seed=None,
            metric=UNSCORABLE,
            value=None,
            error=REASON,
        )
        for subject in subjects
        for budget in cell.budgets
    ]
