"""The processors that this process may use, and what of them each of several workers has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def threads_of_one_of(workers: int) -> Iterator[None]:
    """Compute, within, on as many threads as one of so many workers has on this machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, max(1, processors() // workers)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
