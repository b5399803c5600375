"""From values to how well they part what is held from what is not: no torch, no files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dorib import auc, auc_interval
from dorib_meta.evidence import Evidence, Item, Pools, Values
from dorib_meta.findings import Against, AttackTrust, Fall, Parted, ProbeTrust

Levels = Mapping[str, int]
"""By sample, how often it was drawn in training; samples may be left out."""


def attack_trusts(evidence: Evidence, pools: Pools, levels: Levels) -> list[AttackTrust]:
    """A row for each attack, metric, budget and duplication level of which something is known."""
    return [
        AttackTrust(attack=q.method, metric=q.metric, budget=budget, **row)
        for q in evidence.values
        if q.kind == "attack"
        for budget, values in evidence.within(q)
        for row in _rows(values, pools, levels)
    ]


def probe_trusts(evidence: Evidence, pools: Pools, levels: Levels) -> list[ProbeTrust]:
    """The same for each probe."""
    return [
        ProbeTrust(probe=q.method, **row)
        for q in evidence.values
        if q.kind == "probe"
        for _, values in evidence.within(q)
        for row in _rows(values, pools, levels)
    ]


def falls(trusts: Sequence[AttackTrust]) -> list[Fall]:
    """How each attack's AUC goes over its budgets, by each metric: over all duplication levels.

    Against the oracle and against controls, as far as there are any.
    """
    curves: dict[tuple[str, str, Against], list[tuple[int, Parted]]] = {}
    for trust in trusts:
        arms: dict[Against, Parted | None] = {"oracle": trust.oracle, "controls": trust.controls}
        for against, parted in arms.items():
            if trust.duplication is None and parted is not None:
                curve = curves.setdefault((trust.attack, trust.metric, against), [])
                curve.append((trust.budget, parted))
    return [_fall(*place, curve) for place, curve in curves.items()]


def _fall(attack: str, metric: str, against: Against, curve: Sequence[tuple[int, Parted]]) -> Fall:
    best = max(parted.auc for _, parted in curve)
    at_best = [(budget, parted) for budget, parted in curve if parted.auc == best]
    last, kept = at_best[-1]
    later = [parted for budget, parted in curve if budget > last]
    return Fall(
        attack=attack,
        metric=metric,
        against=against,
        best=best,
        best_budget=at_best[0][0],
        falls_beyond=last if later else None,
        apart=any(parted.high < kept.low for parted in later),
    )


def _rows(values: Values, pools: Pools, levels: Levels) -> Iterator[dict[str, Any]]:
    """Over all held samples, then by duplication level where there are several."""
    held = _pool(values, pools.holding, "memorized")
    lacked = _pool(values, pools.lacking, "memorized")
    controls = _pool(values, pools.holding, "control")
    there = {levels[item.sample] for item in (*held, *lacked) if item.sample in levels}
    for level in (None, *(sorted(there, reverse=True) if len(there) > 1 else ())):
        ours, others = (
            {item: v for item, v in pool.items() if level in (None, levels.get(item.sample))}
            for pool in (held, lacked)
        )
        against = {"oracle": parted(ours, others), "controls": parted(ours, controls)}
        if any(against.values()):
            degree = _degree(held, levels) if level is None else None
            missing = _missing(ours, others)
            yield {"duplication": level, **against, "degree": degree, "missing": missing}


def _degree(held: Values, levels: Levels) -> float | None:
    """How well values follow how often a sample was drawn, under one and the same model."""
    known = [(item, value) for item, value in held.items() if item.sample in levels]
    wins = [
        0.5 if value == less else float(value > less)
        for item, value in known
        for other, less in known
        if item.mitigation == other.mitigation and levels[item.sample] > levels[other.sample]
    ]
    return sum(wins) / len(wins) if wins else None


def _missing(held: Values, lacked: Values) -> int:
    """Pairs of a sample that is known and a model that is, without a value."""
    samples = {item.sample for item in (*held, *lacked)}
    return len(samples) * len({item.mitigation for item in held}) - len(held)


def parted(held: Values, others: Values) -> Parted | None:
    """The AUC of `held` over `others`, with its interval; None where either has no value."""
    if not (held and others):
        return None
    value = auc([*held.values()], [*others.values()])
    low, high = auc_interval(value, _clusters(held), _clusters(others))
    return Parted(auc=value, low=low, high=high, held=len(held), not_held=len(others))


def _pool(values: Values, mitigations: Sequence[str], role: str) -> dict[Item, float]:
    return {
        item: value
        for item, value in values.items()
        if item.mitigation in mitigations and item.role == role
    }


def _clusters(values: Values) -> int:
    return len({item.cluster for item in values})
