"""What was measured on each image of a cell, as a witness holds it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dorib.errors import DoribError
from dorib.ranking.records import Record
from dorib.store.packs import read_table, write_table

PLACES = "places"
"""In a table's metadata: [sample, budget] of each of its rows, as JSON."""


@dataclass(frozen=True)
class Values:
    """By metric `[places, seeds]`, float64; NaN where there is no value."""

    places: tuple[tuple[str, int], ...]
    """Sample and budget."""
    by_metric: dict[str, Tensor]

    def of(self, sample: str) -> Iterator[tuple[str, Tensor]]:
        """The values of one sample by metric, `[budgets, seeds]`."""
        rows = [row for row, (name, _) in enumerate(self.places) if name == sample]
        for metric, values in self.by_metric.items():
            yield metric, values[rows]

    @property
    def samples(self) -> list[str]:
        """Their ids, each once, in order."""
        return list(dict.fromkeys(sample for sample, _ in self.places))


def values_of(records: Iterable[Record]) -> Values:
    """The values of samples' or utility prompts' images among the records of one cell."""
    found: dict[tuple[str, int], dict[tuple[str, int], float]] = {}
    metrics: dict[str, None] = {}
    seeds = 0
    for record in records:
        if record.sample is None:
            continue
        of_place = found.setdefault((record.sample, record.budget), {})
        if record.seed is None or record.value is None:
            continue
        metrics[record.metric] = None
        seeds = max(seeds, record.seed + 1)
        of_place[record.metric, record.seed] = record.value
    nan = float("nan")
    return Values(
        tuple(found),
        {
            metric: torch.tensor(
                [[row.get((metric, seed), nan) for seed in range(seeds)] for row in found.values()],
                dtype=torch.float64,
            )
            for metric in metrics
        },
    )


def write_values(values: Values, path: Path) -> None:
    """Write them as a table.

    Raises:
        OSError, SafetensorError: the disk is full or not writable.
    """
    write_table(values.by_metric, {PLACES: json.dumps(values.places)}, path)


def read_values(path: Path) -> Values:
    """What `write_values` wrote.

    Raises:
        DoribError: there is none, or it is damaged.
    """
    tensors, names = read_table(path)
    try:
        rows = json.loads(names[PLACES])
        places = tuple((str(sample), int(budget)) for sample, budget in rows)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DoribError(f"{path}: holds no list of its places; restore the file") from error
    if len(set(places)) < len(places) or any(
        values.dim() != 2 or len(values) != len(places) for values in tensors.values()
    ):
        raise DoribError(f"{path}: its values are not one row a place; restore the file")
    return Values(places, tensors)
