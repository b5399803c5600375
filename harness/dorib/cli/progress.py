"""Progress of a run: a bar for the verb at work on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from dorib.cli.ahead.durations import duration as duration
from dorib.cli.ahead.whole import Whole
from dorib.cli.terminal import say
from dorib.printable import printable
from dorib.reporting import Advance

if TYPE_CHECKING:
    from dorib.plan.ahead import Expected
    from dorib.plan.plan import Plan

Clock = Callable[[], float]

SECONDS_BETWEEN_LINES = 10
VERB_WIDTH = len("generate")


@dataclass
class Pace:
    """How far a verb has come, and when it will be done at its mean speed so far."""

    total: int
    """Units of work; 0 where that is not known."""
    clock: Clock
    done: int = 0
    _started: float = field(init=False)
    _reached: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._started = self.clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock() - self._started

    def advance(self, units: int) -> None:
        """Count finished units."""
        self.done += units
        self._reached = self.elapsed

    @property
    def left(self) -> float | None:
        """Seconds to go; None before the first unit, or where the total is not known.

        The mean up to the last advance, counted down since: batches are few and long, so that a
        speed over the last half minute would often rest on none of them.
        """
        if not (self.total and self.done):
            return None
        return max(0.0, self._reached * self.total / self.done - self.elapsed)


def reporter_for(
    console: Console, clock: Clock = time.monotonic, *, tracebacks: bool = False
) -> Bars | Lines:
    """What suits the console; to be entered around the run.

    `tracebacks`: print of each plugin that fails where it did.
    """
    kind = Bars if console.is_terminal else Lines
    return kind(console, clock, tracebacks=tracebacks)


class Bars:
    """A bar with the time left while a verb is at work, and a line once it is done.

    Above it one for the whole run, once it is known what is to come.
    """

    def __init__(
        self, console: Console, clock: Clock = time.monotonic, *, tracebacks: bool = False
    ) -> None:
        self._console = console
        self._clock = clock
        self._tracebacks = tracebacks
        subject = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        self._progress = Progress(
            TextColumn(f"{{task.fields[verb]:<{VERB_WIDTH}}}", markup=False),
            TextColumn("{task.description}", markup=False, table_column=subject),
            BarColumn(bar_width=24),
            _TimeLeft(Column(no_wrap=True, min_width=15)),
            console=console,
            expand=True,
            transient=True,
            refresh_per_second=4,
        )
        self._whole: Whole | None = None
        self._whole_task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def foresee(self, plan: Plan, expected: Sequence[Expected]) -> None:
        """Draw a bar for all that is expected; before a long run, say what it will take."""
        # Here, since a plan brings torch: `dorib --help` answers without.
        from dorib.cli.ahead.shown import LONG, summary

        if plan.seconds is not None and plan.seconds > LONG:
            say(self._console, *summary(plan))
        weights: dict[tuple[str, str], float] = {}
        for one in expected:
            place = one.verb, one.subject
            weights[place] = weights.get(place, 0.0) + one.weight
        if not sum(weights.values()):
            return
        self._whole = Whole(weights, plan.seconds is not None, self._clock)
        self._whole_task = self._progress.add_task(
            "the whole run", total=self._whole.total, verb="", pace=self._whole
        )

    @contextmanager
    def verb(self, name: str, subject: str, total: int) -> Iterator[Advance]:
        """Draw a bar until the block ends."""
        pace = Pace(total, self._clock)
        shown = printable(subject)
        task = self._progress.add_task(shown, total=total or None, verb=name, pace=pace)

        def advance(units: int) -> None:
            pace.advance(units)
            self._progress.update(task, completed=pace.done)
            if self._whole and total:
                self._whole.advance(name, subject, pace.done / total)
                self._draw_whole()

        try:
            yield advance
        finally:
            self._progress.remove_task(task)
        if self._whole:
            self._whole.end(name, subject)
            self._draw_whole()
        say(self._console, f"{name:<{VERB_WIDTH}} {subject} ({duration(pace.elapsed)})")

    def _draw_whole(self) -> None:
        if self._whole and self._whole_task is not None:
            self._progress.update(self._whole_task, completed=self._whole.done)

    def refresh(self) -> None:
        """Draw the bar now, and not when the next tick comes."""
        self._progress.refresh()

    def note(self, text: str) -> None:
        """Print the note above the bar."""
        say(self._console, text)

    def failure(self, text: str, error: BaseException) -> None:
        """Print the failure above the bar."""
        _say_failure(self._console, text, error, self._tracebacks)


class Lines:
    """A line as a verb starts and ends, and between them at most one every ten seconds."""

    def __init__(
        self, console: Console, clock: Clock = time.monotonic, *, tracebacks: bool = False
    ) -> None:
        self._console = console
        self._clock = clock
        self._tracebacks = tracebacks

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        pass

    @contextmanager
    def verb(self, name: str, subject: str, total: int) -> Iterator[Advance]:
        """Tell of start, progress and end."""
        title = f"{name:<{VERB_WIDTH}} {subject}"
        pace = Pace(total, self._clock)
        due = SECONDS_BETWEEN_LINES
        say(self._console, title)

        def advance(units: int) -> None:
            nonlocal due
            pace.advance(units)
            if pace.elapsed >= due:
                due = int(pace.elapsed) + SECONDS_BETWEEN_LINES
                say(self._console, f"{title}: {_standing(pace)}")

        yield advance
        say(self._console, f"{title}: done in {duration(pace.elapsed)}")

    def note(self, text: str) -> None:
        """Print the note."""
        say(self._console, text)

    def failure(self, text: str, error: BaseException) -> None:
        """Print the failure."""
        _say_failure(self._console, text, error, self._tracebacks)


def _standing(pace: Pace) -> str:
    elapsed = f"after {duration(pace.elapsed)}"
    if pace.left is None:
        so_far = f", {pace.done:,} items so far" if pace.done else ""
        return f"still at work {elapsed}{so_far}"
    return f"{pace.done / pace.total:.0%} {elapsed}, {duration(pace.left)} left"


class _TimeLeft(ProgressColumn):
    """Time left; where that cannot be known what is done, and the time spent."""

    def render(self, task: Task) -> Text:
        pace: Pace | Whole = task.fields["pace"]
        left = pace.left
        if left is None:
            spent = duration(pace.elapsed)
            counts = isinstance(pace, Pace) and not pace.total and pace.done
            said = f"{pace.done:,} in {spent}" if counts else f"{spent} so far"
            return Text(said.rjust(15), style="progress.elapsed")
        return Text(f"{duration(left)} left".rjust(15), style="progress.remaining")


def _say_failure(console: Console, text: str, error: BaseException, tracebacks: bool) -> None:
    say(console, text)
    if tracebacks:
        say(console, *"".join(traceback.format_exception(error)).splitlines())
