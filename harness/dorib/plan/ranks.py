"""Which rows will have no rank, as far as a run's options tell."""

from __future__ import annotations

from collections.abc import Iterator

from dorib.contracts.methods import CLIP_ALIGNMENT, REPLICATES
from dorib.host.configure import NONE, ORACLE
from dorib.ranking.checks.reasons import (
    NO_COMPARISON,
    NO_REPLICATION,
    NO_UTILITY,
    REFERENCE_LINE,
    not_attacked,
)
from dorib.report.run import Run


def reasons_expected(this: Run, mitigation: str) -> Iterator[str]:
    """Each reason that a row, by its mitigation's label, will not be ranked for."""
    labels = {method.name: method.label for method in this.mitigations}
    if mitigation in (NONE, labels.get(ORACLE)):
        yield REFERENCE_LINE
        return
    ran = {method.label for method in this.attacks}
    required = this.context.suite.manifest.required_attacks
    yield from (not_attacked(attack) for attack in required if attack not in ran)
    quantities = {name for metric in this.metrics for name in metric.metric.quantities}
    if REPLICATES not in quantities:
        yield NO_REPLICATION
    elif ORACLE not in labels and not this.context.controls:
        yield NO_COMPARISON
    if CLIP_ALIGNMENT not in quantities:
        yield NO_UTILITY
