"""Probes: how well a score parts memorized samples from controls."""

from __future__ import annotations

import math

import numpy as np

from dorib.ranking.estimates.auc import auc, auc_interval
from dorib.ranking.facts import RunFacts, SampleFacts
from dorib.ranking.observations import Observations, Place
from dorib.ranking.rates import ProbeResult

SCORE = "score"
WORK = "work"


def probe_quantity(label: str, name: str) -> str:
    """What records call a probe's `score`, or the `work` that it took."""
    return f"{label} {name}"


def probe_result(
    observations: Observations, run: RunFacts, mitigation: str, label: str, knows: tuple[str, ...]
) -> ProbeResult | None:
    """The result of the probe `label` under `mitigation`; None where either side has no score."""
    ours = _scores(observations, run, mitigation, label)
    memorized, controls = ours
    if not (memorized and controls):
        return None
    value = auc([*memorized.values()], [*controls.values()])
    low, high = auc_interval(
        value, _clusters(run.memorized, memorized), _clusters(run.controls, controls)
    )
    oracle = _scores(observations, run, run.oracle, label) if run.oracle else ({}, {})
    work = [
        spent
        for role in ("memorized", "control")
        for spents in observations.by_sample(
            Place(mitigation, None, 0, role), probe_quantity(label, WORK)
        ).values()
        for spent in spents
    ]
    return ProbeResult(
        knows=knows,
        auc=value,
        low=low,
        high=high,
        memorized=len(memorized),
        controls=len(controls),
        errors=len(run.memorized) + len(run.controls) - len(memorized) - len(controls),
        oracle_auc=auc([*oracle[0].values()], [*oracle[1].values()]) if all(oracle) else None,
        work=float(np.mean(work)) if work else 0.0,
    )


def _scores(
    observations: Observations, run: RunFacts, mitigation: str, label: str
) -> tuple[dict[str, float], dict[str, float]]:
    def of_role(samples: tuple[SampleFacts, ...], place: Place) -> dict[str, float]:
        values = observations.by_sample(place, probe_quantity(label, SCORE))
        found = {sample.id: values.get(sample.id) for sample in samples}
        return {name: math.fsum(v) / len(v) for name, v in found.items() if v}

    return (
        of_role(run.memorized, Place(mitigation, None, 0, "memorized")),
        of_role(run.controls, Place(mitigation, None, 0, "control")),
    )


def _clusters(samples: tuple[SampleFacts, ...], scored: dict[str, float]) -> int:
    return len({sample.cluster for sample in samples if sample.id in scored})
