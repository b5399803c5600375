"""Running a grid by the public Python API, and reading what came of its points."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dorib
from dorib import REPLICATES, Advance, DoribError, Entry, MethodSpec, Reporter, Results, write_text
from dorib.contracts.methods import SECOND_REPLICATES
from dorib.host.configure import configure
from dorib.host.registry import discover
from tuning.numbers import Point

RUN = "run"
"""The run's folder in that of the tuning: one board and one store for all mitigations."""
FIT_TIMES = "fit-times.json"
NOTHING_SEARCHED = "none"


class FitTimes:
    """A reporter that passes on what it hears, and keeps how long each mitigation was fitted.

    A verb is heard of only where it has something to compute: what is found in the store keeps the
    time that it once took.
    """

    def __init__(self, folder: Path, reporter: Reporter) -> None:
        self._file = folder / FIT_TIMES
        self._reporter = reporter
        self.seconds = _read_times(self._file)
        """By label."""

    @contextmanager
    def verb(self, name: str, subject: str, total: int) -> Iterator[Advance]:
        """A verb starts."""
        began = time.monotonic()
        with self._reporter.verb(name, subject, total) as advance:
            yield advance
        if name == "mitigate":
            self.seconds[subject] = round(time.monotonic() - began, 3)
            write_text(self._file, json.dumps(self.seconds, indent=1, sort_keys=True) + "\n")

    def note(self, text: str) -> None:
        """Pass a note on."""
        self._reporter.note(text)

    def failure(self, text: str, error: BaseException) -> None:
        """Pass a failure on."""
        self._reporter.failure(text, error)


def labels_of(specs: Sequence[MethodSpec]) -> list[str]:
    """How a run names each of `specs`; it sees as well that parameters are right.

    Raises:
        DoribError: a method or a parameter is unknown or wrong.
    """
    registry = discover()
    return [configure(registry, "mitigation", spec).label for spec in specs]


def run_points(
    specs: Sequence[MethodSpec], folder: Path, options: dict[str, Any], reporter: Reporter
) -> tuple[Results, list[Point]]:
    """Each of `specs` without an attack, or what is stored of it.

    Args:
        specs: mitigations.
        folder: the tuning's; the run's is in it.
        options: of `dorib.run`, beside mitigations, attacks and folder.
        reporter: hears of the progress.

    Raises:
        DoribError: the run is refused.
    """
    times = FitTimes(folder, reporter)
    run = dorib.run(
        mitigation=list(specs),
        attack=NOTHING_SEARCHED,
        out=folder / RUN,
        reporter=times,
        **options,
    )
    entries = {
        entry.mitigation.label: entry
        for entry in run.entries
        if entry.attack.label == NOTHING_SEARCHED
    }
    labels = labels_of(specs)
    missing = [label for label in labels if label not in entries]
    if missing:
        raise DoribError(f"tuning: nothing came of {', '.join(missing)}")
    both = _called_copies_by_both(run)
    return run, [
        _point(entries[label], len(both[label]), times.seconds.get(label)) for label in labels
    ]


def _point(entry: Entry, copies_to_both: int, seconds: float | None) -> Point:
    rate = entry.memorization_rate
    return Point(
        method=entry.mitigation.label,
        rate=rate.rate if rate else None,
        rate_by_both=copies_to_both / rate.n if rate and entry.second_judge else None,
        utility=entry.utility.value if entry.utility else None,
        utility_by_kind={kind: share.value for kind, share in entry.utility_by_kind.items()},
        fit_items=entry.work.fit,
        fit_seconds=seconds,
        errors=entry.errors,
    )


def _called_copies_by_both(run: Results) -> defaultdict[str, set[str]]:
    """By mitigation, the memorized samples of which an image is a copy to both judges."""
    said: defaultdict[tuple[str, str, int | None], set[str]] = defaultdict(set)
    for record in run.records():
        if record.role != "memorized" or record.attack != NOTHING_SEARCHED:
            continue
        if record.metric in (REPLICATES, SECOND_REPLICATES) and record.value == 1:
            said[record.mitigation, str(record.sample), record.seed].add(record.metric)
    found: defaultdict[str, set[str]] = defaultdict(set)
    for (mitigation, sample, _), judges in said.items():
        if len(judges) == 2:
            found[mitigation].add(sample)
    return found


def _read_times(file: Path) -> dict[str, float]:
    """What earlier runs took; nothing where that cannot be read: it decides nothing."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: seconds for name, seconds in content.items() if isinstance(seconds, int | float)}
