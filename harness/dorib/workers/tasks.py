"""What a run is cut into for workers, and which of it a worker without work is given."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

PATIENCE_SECONDS = 1.0
"""For so long a worker waits for batches that others are at, before it asks for another task."""

WAIT_SECONDS = 10.0
"""If no worker has come back for so long, those without work look at all tasks again."""


@dataclass(frozen=True)
class Task:
    """A cell of a run, or what a row needs beside its cells."""

    row: int
    """Place of the mitigation among the run's."""
    attack: int | None
    """Place of the attack among the run's; None: utility and probes."""


class Schedule:
    """The tasks that are open, and who is at work on them.

    Rows go side by side: of the open tasks a worker is given one of the row at which the fewest
    are at work, so that fits, which are one piece each, begin as early as they can. Several may be
    at one task, whose batches they share.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._open = dict.fromkeys(tasks)
        self._at_work: Counter[Task] = Counter()
        self._at_row: Counter[int] = Counter()
        self._refused: defaultdict[Hashable, set[Task]] = defaultdict(set)

    @property
    def open(self) -> int:
        """Tasks that are not finished."""
        return len(self._open)

    def next(self, worker: Hashable) -> Task | None:
        """What `worker` is to do now; None where all that is left must be waited for."""
        if not self._at_work.total():
            self.offer_again()
        fitting = [task for task in self._open if task not in self._refused[worker]]
        if not fitting:
            return None
        # The first of equals: the order in which the tasks were handed in.
        task = min(fitting, key=self.preferred)
        self._at_work[task] += 1
        self._at_row[task.row] += 1
        return task

    def preferred(self, task: Task) -> tuple[int, ...]:
        """What is least of the task that is given out next."""
        return self._at_row[task.row], self._at_work[task]

    def returned(self, worker: Hashable, task: Task, *, finished: bool) -> None:
        """A worker is back; not `finished`: others are at work on what is left of the task."""
        self._leave(task)
        if finished:
            self._open.pop(task, None)
            self.offer_again()
        else:
            self._refused[worker].add(task)

    def lost(self, task: Task) -> None:
        """A worker is gone; what it was at is anyone's."""
        self._leave(task)
        self.offer_again()

    def offer_again(self) -> None:
        """Let workers look again at what they came back from: its next batches may be free."""
        self._refused.clear()

    def _leave(self, task: Task) -> None:
        self._at_work[task] -= 1
        self._at_row[task.row] -= 1
