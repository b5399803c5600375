"""Which methods failed altogether in a run, so that none passes for a result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dorib.host.configure import Configured
    from dorib.report.run import Run
    from dorib.verbs.judging import Cell


def failed_altogether(this: Run) -> tuple[str, ...]:
    """One reason for each method of which nothing came: a mitigation, an attack, or a judge."""
    judges = [
        reason for method in (*this.metrics, *this.probes) for reason in _judges(this, method)
    ]
    methods = [*_mitigations(this), *_attacks(this), *judges]
    return tuple(dict.fromkeys(methods))


def _mitigations(this: Run) -> Iterator[str]:
    for cell in this.made.values():
        if cell.mitigated.failure:
            yield cell.mitigated.failure


def _attacks(this: Run) -> Iterator[str]:
    by_attack: dict[str, list[Cell]] = {}
    for (_, attack), cell in this.made.items():
        if cell.attacked and not cell.mitigated.failure:
            by_attack.setdefault(attack, []).append(cell)
    for cells in by_attack.values():
        failures = [cell.attacked.failures if cell.attacked else {} for cell in cells]
        if all(subject.id in found for found in failures for subject in this.subjects):
            yield next(iter(failures[0].values()))


def _judges(this: Run, method: Configured) -> Iterator[str]:
    judged = [record for record in this.records if record.judge == method.label]
    # What a mitigation or an attack failed at is passed on, and is no fault of the judge.
    own = [r.error for r in judged if r.error and r.error.startswith(method.title)]
    if own and len(own) == len(judged):
        yield own[0]
