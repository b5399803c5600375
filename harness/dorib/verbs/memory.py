"""Batches that do not fit into the device's memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from dorib.store.files import write_json

T = TypeVar("T")
R = TypeVar("R")

HALVED = "halved.json"


def within_memory(
    work: Callable[[Sequence[T]], R], batch: Sequence[T], note: Callable[[str], None]
) -> Iterator[tuple[Sequence[T], R]]:
    """`work` on the whole batch, or on its halves where the device runs out of memory.

    Yields each part with its result; `note` is told of each halving. The initial noise is an
    item's own, so that the parts give what the whole would have given, within rounding.

    Raises:
        torch.OutOfMemoryError: a single item does not fit.
    """
    try:
        result = work(batch)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
    else:
        yield batch, result
        return
    # Here and not in the handler: the exception kept the attempt's tensors alive.
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
    middle = len(batch) // 2
    note(f"out of memory with a batch of {len(batch)}: going on with {middle}; set --batch-size")
    for half in (batch[:middle], batch[middle:]):
        yield from within_memory(work, half, note)


def record_halving(folder: Path, planned: int, smallest: int) -> None:
    """Leave word beside a batch's artefacts where it had to be run in parts."""
    if smallest < planned:
        write_json(folder / HALVED, {"planned": planned, "smallest": smallest})


def smallest_batch(folders: Iterable[Path]) -> int | None:
    """The fewest items that had to be run together in any of the batches; None: all were whole."""
    records = (folder / HALVED for folder in set(folders))
    sizes = [json.loads(record.read_text())["smallest"] for record in records if record.exists()]
    return min(sizes, default=None)
