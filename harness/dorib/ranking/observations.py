"""Records in order: by cell, budget and role, each value once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import numpy as np

from dorib.contracts.methods import REPLICATES, SECOND_REPLICATES, Quantity
from dorib.errors import DoribError
from dorib.ranking.entry_fields import Summary
from dorib.ranking.records import Record

LIKENESS = "sscd_original"
"""What `replicates` is decided by: an image's cosine with the nearest original."""
SECOND_LIKENESS = f"{LIKENESS}_second"
"""The same of the second judge."""

UNSCORABLE = "unscorable"
"""In a metric's place in the records of samples without an original: no fault of the cell."""


class Place(NamedTuple):
    """Where a value was measured."""

    mitigation: str
    attack: str | None
    """None for utility prompts."""
    budget: int
    role: Literal["memorized", "control", "utility"]


class Observations:
    """All records of a run. A value that comes twice counts once.

    Raises:
        DoribError: two values of one place differ.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._values: dict[tuple[Place, str], dict[tuple[str | None, int | None], float]] = {}
        self._errors: dict[Place, set[str]] = {}
        self._add(records)

    def put(self, mitigation: str, attack: str | None, records: Iterable[Record]) -> None:
        """Let `records` stand for all that there was of one cell, or of a mitigation's own.

        Raises:
            DoribError: two values of one place differ.
        """
        self._values = {
            key: values
            for key, values in self._values.items()
            if (key[0].mitigation, key[0].attack) != (mitigation, attack)
        }
        self._errors = {
            place: errors
            for place, errors in self._errors.items()
            if (place.mitigation, place.attack) != (mitigation, attack)
        }
        self._add(records)

    def _add(self, records: Iterable[Record]) -> None:
        for record in records:
            if record.metric == UNSCORABLE:
                continue
            place = Place(record.mitigation, record.attack, record.budget, record.role)
            if record.value is None:
                self._errors.setdefault(place, set()).add(record.sample or record.metric)
            else:
                values = self._values.setdefault((place, record.metric), {})
                kept = values.setdefault((record.sample, record.seed), record.value)
                if kept != record.value:
                    raise DoribError(
                        f"records: {record.metric} of sample {record.sample}, seed {record.seed}, "
                        f"{record.mitigation} x {record.attack} at {record.budget} is both {kept} "
                        f"and {record.value}; delete the store's records and run again"
                    )

    def errors(self, place: Place) -> frozenset[str]:
        """The samples that any metric has an error for, and metrics that failed on all of them."""
        return frozenset(self._errors.get(place, ()))

    def by_sample(self, place: Place, quantity: str) -> dict[str, list[float]]:
        """One quantity's values, by sample."""
        values = defaultdict(list)
        for (sample, _), value in self._values.get((place, quantity), {}).items():
            if sample is not None:
                values[sample].append(value)
        return dict(values)

    def by_image(self, place: Place, quantity: str) -> dict[tuple[str | None, int | None], float]:
        """One quantity's values, by sample and evaluation seed."""
        return dict(self._values.get((place, quantity), {}))

    def summaries(self, place: Place, quantities: Mapping[str, Quantity]) -> dict[str, Summary]:
        """Every quantity that has values there, besides verdicts, whose summaries are rates."""
        summaries = {}
        for name, quantity in sorted(quantities.items()):
            values = list(self._values.get((place, name), {}).values())
            if values and name not in (REPLICATES, SECOND_REPLICATES):
                median = float(np.median(values))
                summaries[name] = Summary(
                    mean=float(np.mean(values)),
                    median=median,
                    median_absolute_deviation=float(np.median(np.abs(np.subtract(values, median)))),
                    n=len(values),
                    unit=quantity.unit,
                    direction=quantity.direction,
                    level=quantity.level,
                    in_table=quantity.in_table,
                )
        return summaries
