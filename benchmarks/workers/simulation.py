"""Many workers on the batch times of a real run: how long, how idle, and what the longest chain is.

`python -m workers.simulation batches.json`: a discrete-event simulation. Workers are given tasks by
the very schedule that `dorib run --workers` goes by; the other orders are there to compare it with.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path

from dorib.workers.tasks import PATIENCE_SECONDS, WAIT_SECONDS, Schedule, Task
from workers.batches import Timed, read_batches

WITHOUT_ATTACK = "utility prompts"


@dataclass
class Stage:
    """Batches that can be made side by side, once the stage before is done."""

    seconds: list[float] = field(default_factory=list)
    begun: int = 0
    ends: list[float] = field(default_factory=list)
    """Of the batches that were begun."""

    @property
    def longest(self) -> float:
        """Seconds of its longest batch: the least that it takes."""
        return max(self.seconds, default=0.0)


@dataclass
class Work:
    """A run: of each row the fit, and of each task the stages that come after it."""

    fits: dict[int, Stage]
    tasks: dict[Task, list[Stage]]

    @property
    def total(self) -> float:
        """Seconds of one worker."""
        return sum(sum(stage.seconds) for stage in self.stages())

    def stages(self) -> list[Stage]:
        """All that there are."""
        return [*self.fits.values(), *chain.from_iterable(self.tasks.values())]

    def longest_chain(self) -> tuple[float, Task]:
        """The longest chain of batches that wait for one another, and the task at its end."""
        lengths = {
            task: self.fits[task.row].longest + sum(stage.longest for stage in stages)
            for task, stages in self.tasks.items()
        }
        last = max(lengths, key=lambda task: lengths[task])
        return lengths[last], last


def work_of(timed: Sequence[Timed], times: int = 1) -> tuple[Work, list[str]]:
    """The recorded run as stages, with the names of its rows.

    Args:
        timed: the batches, in order.
        times: each batch but the fits' stands for so many: a larger suite.
    """
    rows = list(dict.fromkeys(one.subject for one in timed if one.verb == "mitigate"))
    attacks: list[str] = []
    fits: dict[int, Stage] = {row: Stage() for row in range(len(rows))}
    tasks: dict[Task, list[Stage]] = {}
    labels: dict[tuple[Task, str, str], Stage] = {}
    for one in timed:
        row = max((r for r in rows if _is_of(one, r)), key=len, default=None)
        if row is None:
            raise SystemExit(f"{one.verb} {one.subject}: of no mitigation that was fitted")
        number = rows.index(row)
        if one.verb == "mitigate":
            fits[number].seconds.append(one.seconds)
            continue
        attack = _attack(one)
        if attack is not None and attack not in attacks:
            attacks.append(attack)
        task = Task(number, None if attack is None else attacks.index(attack))
        key = task, one.verb, one.subject
        if key not in labels:
            labels[key] = Stage()
            tasks.setdefault(task, []).append(labels[key])
        labels[key].seconds += [one.seconds] * times
    return Work(fits, tasks), rows


def _is_of(one: Timed, row: str) -> bool:
    if one.verb == "mitigate":
        return one.subject == row
    subject = one.subject.split(": ", 1)[1] if one.verb == "measure" else one.subject
    return subject.startswith((f"{row} x ", f"{row}, ", f"{row}: "))


def _attack(one: Timed) -> str | None:
    if one.verb == "probe" or one.subject.endswith(WITHOUT_ATTACK):
        return None
    return one.subject.split(" x ", 1)[1].removesuffix(", memorized together")


def as_planned(work: Work) -> list[Task]:
    """Row by row, as `dorib run --workers` hands them in."""
    return list(work.tasks)


def longest_first(work: Work) -> list[Task]:
    """By what a task takes with its row's fit, as if that were known beforehand."""

    def seconds(task: Task) -> float:
        stages = [work.fits[task.row], *work.tasks[task]]
        return sum(sum(stage.seconds) for stage in stages)

    return sorted(work.tasks, key=seconds, reverse=True)


class RowAfterRow(Schedule):
    """For comparison the order of one process: every worker at the first task that is open."""

    def preferred(self, task: Task) -> tuple[int, ...]:
        """All alike, so that the first wins."""
        return ()


@dataclass
class Simulated:
    """What came of one simulation."""

    makespan: float
    """Seconds."""
    idle: float
    """Share of the workers' time."""


class Simulation:
    """Workers on a run's work: events are the ends of batches and of waiting."""

    def __init__(self, work: Work, workers: int, schedule: Schedule) -> None:
        self._work = work
        self._workers = workers
        self._schedule = schedule
        self._events: list[tuple[float, int, int]] = []
        self._number = count()
        self._at: dict[int, tuple[Task, int]] = {}
        """By worker: its task, and the place of the stage that it is at."""
        self._due: dict[int, int] = {}
        """By worker: the one event that it waits for, by number."""
        self._waiting: set[int] = set()
        self._idle: set[int] = set()

    def run(self) -> Simulated:
        """From the first batch to the end of the last task."""
        for worker in range(self._workers):
            self._wake(worker, 0.0)
        now = 0.0
        while self._schedule.open:
            when, event, worker = heapq.heappop(self._events)
            if self._due[worker] == event:
                now = when
                self._step(worker, now)
        return Simulated(now, 1 - self._work.total / (now * self._workers))

    def _wake(self, worker: int, when: float) -> None:
        self._due[worker] = event = next(self._number)
        heapq.heappush(self._events, (when, event, worker))

    def _step(self, worker: int, now: float) -> None:
        if worker not in self._at:
            if worker in self._idle:
                self._idle.discard(worker)
                self._schedule.offer_again()
            task = self._schedule.next(worker)
            if task is None:
                self._idle.add(worker)
                self._wake(worker, now + WAIT_SECONDS)
                return
            self._at[worker] = task, 0
        task, begin = self._at[worker]
        for place, stage in list(enumerate(self._stages(task)))[begin:]:
            self._at[worker] = task, place
            if stage.begun < len(stage.seconds):
                self._waiting.discard(worker)
                end = now + stage.seconds[stage.begun]
                stage.begun += 1
                stage.ends.append(end)
                self._wake(worker, end)
                return
            if (done := max(stage.ends, default=0.0)) > now:
                self._wait(worker, task, now, done)
                return
        self._leave(worker, task, now, finished=True)

    def _wait(self, worker: int, task: Task, now: float, done: float) -> None:
        if worker in self._waiting:
            self._leave(worker, task, now, finished=False)
            return
        if done > now + PATIENCE_SECONDS:
            self._waiting.add(worker)
        self._wake(worker, min(done, now + PATIENCE_SECONDS))

    def _leave(self, worker: int, task: Task, now: float, *, finished: bool) -> None:
        self._waiting.discard(worker)
        del self._at[worker]
        self._schedule.returned(worker, task, finished=finished)
        self._wake(worker, now)
        if finished:
            for other in self._idle:
                self._wake(other, now)

    def _stages(self, task: Task) -> list[Stage]:
        """Its row's fit, the unmitigated model's images that it is compared with, its own."""
        fits, tasks = self._work.fits, self._work.tasks
        first = Task(0, None if task.attack is None else 0)
        compared = [] if task == first else tasks.get(first, [])
        return [fits[task.row], fits[0], *compared, *tasks[task]]


def main() -> None:
    """Print a table of one recorded run for some numbers of workers."""
    parser = argparse.ArgumentParser(prog="python -m workers.simulation", description=__doc__)
    parser.add_argument("batches", type=Path, help="as `python -m workers.recording` writes them")
    parser.add_argument("--workers", type=int, action="append", help="default: 1, 2, 8, 64, 512")
    parser.add_argument("--times", type=int, default=1, help="so many batches for each but fits'")
    parser.add_argument("--slower", type=float, default=1.0, help="factor of all times")
    asked = parser.parse_args()
    timed = [
        replace(one, seconds=one.seconds * asked.slower) for one in read_batches(asked.batches)
    ]
    work, rows = work_of(timed, asked.times)
    length, last = work.longest_chain()
    batches = sum(len(stage.seconds) for stage in work.stages())
    print(f"{len(rows)} rows, {len(work.tasks)} tasks, {batches} batches, {work.total:.0f} s")
    print(f"longest chain: {length:.0f} s, in row {rows[last.row]}")
    print(f"{'workers':>7}  {'order':<28}{'makespan':>9}{'idle':>7}")
    for workers in asked.workers or [1, 2, 8, 64, 512]:
        for name, simulated in compared(timed, workers, asked.times):
            print(f"{workers:>7}  {name:<28}{simulated.makespan:>8.0f}s{simulated.idle:>7.0%}")


def compared(
    timed: Sequence[Timed], workers: int, times: int = 1
) -> Iterator[tuple[str, Simulated]]:
    """The same run by one schedule after another."""
    for name, kind, order in (
        ("row after row", RowAfterRow, as_planned),
        ("rows side by side", Schedule, as_planned),
        ("side by side, longest first", Schedule, longest_first),
    ):
        work, _ = work_of(timed, times)
        yield name, Simulation(work, workers, kind(order(work))).run()


if __name__ == "__main__":
    main()
