"""Workers that are lost: each is given time to start again, and given up where nothing helps."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

MOST = 10
"""So many losses of one worker, and nothing stored between them, end a run."""
LONGEST_REST = 30.0
"""Seconds between the last of them."""


class Losses:
    """How often each worker was lost since anything was stored, and when to ask it again.

    A worker that is being started refuses what it is asked, and so is lost again: it rests for a
    second after its first loss, and after each further one twice as long. All of a cluster's
    workers may be lost at once, and its machines back a minute later.
    """

    def __init__(
        self, batches: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`batches` tells how many are stored, `clock` seconds from any start."""
        self._batches = batches
        self._clock = clock
        self._count: Counter[int] = Counter()
        self._stored: dict[int, int] = {}
        self._until: dict[int, float] = {}

    def add(self, worker: int) -> int:
        """Count a loss, and give how many this worker's are since anything was stored."""
        stored = self._batches()
        if self._stored.get(worker) != stored:
            self._count[worker] = 0
        self._stored[worker] = stored
        self._count[worker] += 1
        rest = min(LONGEST_REST, 2.0 ** (self._count[worker] - 1))
        self._until[worker] = self._clock() + rest
        return self._count[worker]

    def rest(self, worker: int) -> float:
        """Seconds until a worker is to be asked again; 0 for one that may be now."""
        return max(0.0, self._until.get(worker, 0.0) - self._clock())
