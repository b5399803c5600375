"""Planned batches: fixed before the run, the unit that a run resumes at and that runs share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from dorib.store.claims import Claim
from dorib.store.store import Shelf

T = TypeVar("T")

POLL_SECONDS = 0.2
"""How often a run looks whether what it waits for is done."""


class ElsewhereError(Exception):
    """What is left to do other runs are doing, for longer than this one was told to wait."""


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


def in_turn(
    shelf: Shelf,
    batches: Sequence[Sequence[T]],
    name: Callable[[T], str],
    is_missing: Callable[[T], bool],
    advance: Callable[[int], None] = lambda items: None,
) -> Iterator[tuple[Claim, list[T]]]:
    """Each of `batches` that no other run makes meanwhile, under a claim to be used by `with`.

    A batch that another run is at work on comes last: it is left out once that run has stored it,
    and comes here once that run has given it up.

    Args:
        shelf: where the batches are stored.
        batches: as `planned_batches` cuts them.
        name: of an item; a batch has the same names in all runs of one plan.
        is_missing: whether an item is not on the shelf yet.
        advance: told how many items others have stored.

    Raises:
        ElsewhereError: what is left was with other runs for longer than the shelf's patience.
        DoribError: the disk is full or not writable.
    """
    left = [list(batch) for batch in batches]
    waited = 0.0
    while left:
        held = []
        for batch in left:
            claim = shelf.claim([name(item) for item in batch])
            if claim is None:
                held.append(batch)
                continue
            waited = 0.0
            # It may have been stored between the planning and the claim.
            shelf.look_again()
            lacking = [item for item in batch if is_missing(item)]
            advance(len(batch) - len(lacking))
            if lacking:
                yield claim, lacking
            else:
                claim.release()
        if not held:
            return
        if shelf.patience is not None and waited >= shelf.patience:
            raise ElsewhereError(f"{shelf.folder}: other runs are at work on {len(held)} batches")
        time.sleep(POLL_SECONDS)
        waited += POLL_SECONDS
        left = held
