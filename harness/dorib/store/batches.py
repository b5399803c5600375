"""Planned batches: fixed before the run, and the unit that a run resumes at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def planned_batches(
    items: Sequence[T], size: int, is_missing: Callable[[T], bool]
) -> list[list[T]]:
    """`items` in consecutive batches of `size`, each without what is there already.

    The cut depends on the whole list alone, not on what is missing: a run that was killed between
    batches goes on with the very same ones, and therefore ends with the same bytes.
    """
    batches = [items[start : start + size] for start in range(0, len(items), size)]
    return [
        lacking for batch in batches if (lacking := [item for item in batch if is_missing(item)])
    ]
