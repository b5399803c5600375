"""A worker: one process with the model loaded once, which does a run's tasks as it is told."""

from __future__ import annotations

import os
import platform
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dorib import runner
from dorib.config import RunConfig
from dorib.errors import DoribError
from dorib.host.configure import NONE
from dorib.host.registry import Registry, discover
from dorib.report.board.computing import Stopwatch, add_computed
from dorib.report.board.publishing import name_of, note_computed_elsewhere
from dorib.report.results import computed_since
from dorib.report.run import Run
from dorib.report.run_result import RunResult
from dorib.reporting import Advance
from dorib.runner import Row
from dorib.store.batches import ElsewhereError
from dorib.store.fingerprint import digest
from dorib.verbs.generate import generate_utility
from dorib.workers.tasks import PATIENCE_SECONDS, Task


@dataclass(frozen=True)
class Told:
    """A note, or a failure with where it came from."""

    text: str
    trace: str | None = None


@dataclass(frozen=True)
class Plan:
    """A run as its workers see it."""

    tasks: list[Task]
    model: str
    """Digest of all that this worker's results depend on: code, libraries, kind of device."""
    told: list[Told]


@dataclass(frozen=True)
class Outcome:
    """What came of a task."""

    finished: bool
    """False: others are at work on what is left of it."""
    anything: bool
    """Not all was stored before."""
    computed: dict[str, dict[str, Any]]
    """Hours and items of what was computed, by the mitigation's or the cell's name."""
    told: list[Told]


@dataclass
class _Listener:
    """Keeps what is reported until it is handed on."""

    told: list[Told] = field(default_factory=list)
    verbs: int = 0
    computed: dict[str, dict[str, Any]] = field(default_factory=dict)

    @contextmanager
    def verb(self, name: str, subject: str, total: int) -> Iterator[Advance]:
        """Count the verb."""
        self.verbs += 1
        yield lambda units: None

    def note(self, text: str) -> None:
        """Keep the note."""
        self.told.append(Told(text))

    def failure(self, text: str, error: BaseException) -> None:
        """Keep the failure, as text: not every exception can be sent."""
        self.told.append(Told(text, "".join(traceback.format_exception(error))))

    def handed_on(self, *, finished: bool) -> Outcome:
        """All since the last time."""
        outcome = Outcome(finished, self.verbs > 0, self.computed, self.told)
        self.told, self.verbs, self.computed = [], 0, {}
        return outcome


class Worker:
    """Does tasks of one run against the store that all its workers share."""

    def __init__(self, config: RunConfig, plugins: Sequence[Path], folder: Path) -> None:
        """Nothing is read yet; `folder` is where relative paths of `config` begin."""
        self._config = config
        self._plugins = plugins
        self._folder = folder
        self._listener = _Listener()
        self._rows: dict[int, Row] = {}

    def plan(self) -> Plan:
        """What there is to do.

        Raises:
            DoribError: something the user can mend.
        """
        tasks = [
            Task(row, attack)
            for row in range(len(self._run.mitigations))
            for attack in (None, *range(len(self._run.attacks)))
        ]
        told = self._listener.handed_on(finished=True).told
        return Plan(tasks, digest(self._run.context.model_key), told)

    def work(self, task: Task, model: str) -> Outcome:
        """Do what nobody else is at of a task.

        Raises:
            DoribError: what this worker computes would not be what `model` says.
        """
        if digest(self._run.context.model_key) != model:
            raise DoribError(
                f"the worker on {platform.node()} has another dorib, other libraries or another "
                "kind of device than the first; install the same everywhere"
            )
        finished = True
        try:
            self._do(task)
        except ElsewhereError:
            finished = False
        self._note_computed(*self._labels(task))
        return self._listener.handed_on(finished=finished)

    def finish(self, computed: dict[str, dict[str, Any]]) -> tuple[RunResult, Outcome]:
        """Rank and write what a single process would have written, all of it being stored.

        `computed` is what all workers have told of that.
        """
        registry = self._found
        self.__dict__.pop("_run", None)
        result = runner.run(self._config, registry, self._listener)
        note_computed_elsewhere(self._config.out, result.entries, computed)
        return result, self._listener.handed_on(finished=True)

    @cached_property
    def _found(self) -> Registry:
        if not self._folder.is_dir():
            raise DoribError(
                f"{self._folder}: not there on {platform.node()}; run from a folder that all "
                "machines share"
            )
        os.chdir(self._folder)
        return discover(files=self._plugins)

    @cached_property
    def _run(self) -> Run:
        stopwatch = Stopwatch(self._listener)
        run = runner.prepare(self._config, self._found, stopwatch)
        run.stopwatch = stopwatch
        run.context.store.patience = PATIENCE_SECONDS
        return run

    def _do(self, task: Task) -> None:
        run = self._run
        row = self._row(task.row)
        if task.attack is None:
            if task.row and run.needs_utility and run.utility_twins is None:
                run.utility_twins = generate_utility(
                    run.context, self._row(0).mitigated, run.judged_prompts
                )
            runner.judge_without_attack(run, row)
        else:
            if (NONE, NONE) not in run.made:
                runner.judge_cell(run, self._row(0), run.attacks[0])
                self._note_computed(NONE, NONE)
            runner.judge_cell(run, row, run.attacks[task.attack])
        # They are read again from the store once all of them are there.
        run.records.clear()

    def _row(self, number: int) -> Row:
        if number not in self._rows:
            mitigation = self._run.mitigations[number]
            self._rows[number] = runner.fit_row(self._run, mitigation)
            self._note_computed(mitigation.label)
        return self._rows[number]

    def _labels(self, task: Task) -> tuple[str, ...]:
        mitigation = self._run.mitigations[task.row].label
        if task.attack is None:
            return (mitigation,)
        return mitigation, self._run.attacks[task.attack].label

    def _note_computed(self, *labels: str) -> None:
        """Set down what was computed since the last time."""
        add_computed(self._listener.computed, computed_since(self._run, name_of(*labels)))
