"""`dorib reproduce`: the run of an entry done again, and its numbers held against the entry's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dorib.config import read_config
from dorib.contracts.specs import MethodSpec
from dorib.errors import DoribError
from dorib.host.configure import NONE, ORACLE
from dorib.host.registry import Registry
from dorib.ranking.entries import Entry, read_entry
from dorib.ranking.entry_fields import MethodFacts
from dorib.replay.asked import options_of, suite_of
from dorib.replay.comparing import TOLERANCE, Finding, Outcome, compare_entries, compared
from dorib.reporting import Reporter
from dorib.runner import run
from dorib.store.files import named_write_errors, write_text
from dorib.suites.suite import Suite

RUN_FILE = "run.yaml"


@dataclass(frozen=True)
class Reproduced:
    """What came of a run that was done again."""

    run_file: Path
    entry: Entry
    """The one that was to be reproduced."""
    compared: int
    """Numbers that were held against the entry's."""
    differing: tuple[Finding, ...]
    same_machine: bool
    """Whether processor, threads and versions are those of the entry."""

    @property
    def outcome(self) -> Outcome:
        """The worst of all numbers'."""
        return max((finding.outcome for finding in self.differing), default=Outcome.SAME)


def write_run_file(path: Path, out: Path, registry: Registry, suite: str | None = None) -> Path:
    """Write the run file of an entry into a folder.

    Args:
        path: the entry's file.
        out: the folder.
        registry: where the suite is looked up.
        suite: a folder, where it is not registered by the name that the entry gives.

    Raises:
        DoribError: the entry cannot be read, its suite is not here or another one, or the folder
            is not writable.
    """
    entry = read_entry(path)
    text = run_file_of([entry], suite_of(entry, suite, registry))
    with named_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / RUN_FILE, text)
    return out / RUN_FILE


def run_file_of(entries: Sequence[Entry], suite: Suite) -> str:
    """The run file of a row: entries of one mitigation.

    Raises:
        DoribError: the suite is another one.
    """
    searched = (entry for entry in entries if entry.searches)
    first = next(searched, entries[0])
    options = options_of(first, suite)
    if first.mitigation.name not in (NONE, ORACLE):
        options["mitigation"] = [_spelled(first.mitigation)]
    options["attack"] = [_spelled(e.attack) for e in entries if e.attack.name != NONE]
    text = yaml.safe_dump(options, sort_keys=False, allow_unicode=True)
    return f"# dorib run --config {RUN_FILE} --out FOLDER\n{text}"


def reproduce(
    path: Path,
    out: Path,
    registry: Registry,
    reporter: Reporter,
    *,
    suite: str | None = None,
    device: str = "auto",
    tolerance: float | None = None,
) -> Reproduced:
    """Do the run of an entry again: fit, search, draw, judge and rank.

    Args:
        path: the entry's file.
        out: the run's folder; stopped, it goes on from what is there.
        registry: where methods are looked up.
        reporter: hears of each verb that has work to do.
        suite: as `write_run_file` has it.
        device: where the model runs.
        tolerance: by which numbers may differ (None: where the entry was made by another machine
            or other versions `TOLERANCE`, else not at all).

    Raises:
        DoribError: as `write_run_file`, or as a run.
    """
    entry = read_entry(path)
    run_file = write_run_file(path, out, registry, suite)
    config = read_config(run_file, {"out": str(out), "device": device})
    found = next(
        (
            one
            for one in run(config, registry, reporter).entries
            if _is_of(one.mitigation, entry.mitigation) and _is_of(one.attack, entry.attack)
        ),
        None,
    )
    if found is None:
        raise DoribError(
            f"{path}: {entry.mitigation.label} x {entry.attack.label} stands for other parameters "
            f"here than in the entry; write what it had into {run_file} and run that"
        )
    same_machine = found.environment == entry.environment
    if tolerance is None:
        tolerance = 0 if same_machine else TOLERANCE
    differing = tuple(finding for _, finding in compare_entries(entry, found, tolerance))
    return Reproduced(run_file, entry, compared(entry), differing, same_machine)


def _is_of(found: MethodFacts, stated: MethodFacts) -> bool:
    return found.label == stated.label and found.params == stated.params


def _spelled(method: MethodFacts) -> dict[str, Any]:
    """With all parameters, so that it does not depend on what defaults are by now.

    Of a file the entry has its name and sha256 alone: it is looked for by that name.
    """
    typed = MethodSpec.parse(method.label).params
    plain = {n: v for n, v in method.params.items() if not isinstance(v, dict)}
    spelled = {**plain, **{n: v for n, v in typed.items() if n not in plain}}
    # A parameter of that name would put another method in the place of this one.
    return {"name": method.name, **spelled} | {"name": method.name}
