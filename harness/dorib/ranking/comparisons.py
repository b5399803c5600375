"""What a cell's outcomes say beside those of other cells and other budgets."""

from __future__ import annotations

from typing import Literal

import numpy as np

from dorib.host.configure import NONE
from dorib.ranking.estimates.survival import kaplan_meier
from dorib.ranking.facts import CellFacts
from dorib.ranking.outcomes import Outcomes, Role
from dorib.ranking.rates import (
    Interval,
    SecondJudge,
    ThresholdRates,
    WorkToBreak,
    has_second_judge,
)
from dorib.ranking.statistics import paired_difference, recovered_share, unpaired_difference

BOOTSTRAP_SEED = 0

GapReference = Literal["oracle", "controls"]


def erasure_gap(outcomes: Outcomes, cell: CellFacts) -> tuple[Interval | None, GapReference | None]:
    """The rate minus the oracle's under the same attack within the same, largest, budget.

    Minus the controls' rate where there is no oracle; None where there are no controls either, and
    for the oracle, which is no mitigation.
    """
    if cell.mitigation.label == outcomes.run.oracle:
        return None, None
    ours = outcomes.last(cell, "memorized")
    oracle = outcomes.last(outcomes.oracle(cell), "memorized")
    controls = outcomes.last(cell, "control")
    clusters = [sample.cluster for sample in outcomes.run.memorized]
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    if ours and oracle:
        estimate = paired_difference(ours.hits, oracle.hits, clusters, rng)
        return Interval(**estimate._asdict()), "oracle"
    if ours and controls:
        others = [sample.cluster for sample in outcomes.run.controls]
        estimate = unpaired_difference(ours.hits, clusters, controls.hits, others, rng)
        return Interval(**estimate._asdict()), "controls"
    return None, None


def share_recovered(outcomes: Outcomes, cell: CellFacts) -> float | None:
    """What the attack brings back of what the mitigation hid, within the largest budget."""
    attacked = outcomes.last(cell, "memorized")
    mitigated = outcomes.last(outcomes.cell(cell.mitigation.label, NONE), "memorized")
    unmitigated = outcomes.last(outcomes.cell(NONE, NONE), "memorized")
    if not (attacked and mitigated and unmitigated):
        return None
    return recovered_share(attacked.rate.rate, mitigated.rate.rate, unmitigated.rate.rate)


def work_to_break(outcomes: Outcomes, cell: CellFacts, role: Role) -> WorkToBreak | None:
    """Survival over the budgets; None where nothing is searched or nothing tells of replication."""
    budgets = outcomes.budgets(cell)
    by_budget = [outcome for b in budgets if (outcome := outcomes.at(cell, b, role))]
    if not cell.searches or not by_budget:
        return None
    by_sample = list(zip(*(outcome.hits for outcome in by_budget), strict=True))
    broken = [any(hits) for hits in by_sample]
    first = [budgets[hits.index(True)] if any(hits) else budgets[-1] for hits in by_sample]
    curve = kaplan_meier(first, broken)
    return WorkToBreak(
        budgets=budgets,
        survival=tuple(curve.at(budget) for budget in budgets),
        restricted_mean=curve.restricted_mean(budgets[-1]),
        censored=broken.count(False),
        n=len(broken),
    )


def rates_at_thresholds(outcomes: Outcomes, cell: CellFacts) -> tuple[ThresholdRates, ...]:
    """The rates within the largest budget at each of the run's other thresholds."""
    found = []
    for threshold in outcomes.run.thresholds:
        memorized = outcomes.last(cell, "memorized", threshold)
        controls = outcomes.last(cell, "control", threshold)
        oracle = outcomes.last(outcomes.oracle(cell), "memorized", threshold)
        if memorized:
            found.append(
                ThresholdRates(
                    threshold=threshold,
                    memorized=memorized.rate,
                    controls=controls.rate if controls else None,
                    oracle=oracle.rate if oracle else None,
                )
            )
    return tuple(found)


def second_judge(outcomes: Outcomes, cell: CellFacts) -> SecondJudge | None:
    """The rates by the second judge and how often both agree; None where there is no such judge."""
    first = outcomes.last(cell, "memorized")
    memorized = outcomes.last(cell, "memorized", second=True)
    if not (has_second_judge(outcomes.run.stack) and first and memorized):
        return None
    controls = outcomes.last(cell, "control", second=True)
    oracle = outcomes.last(outcomes.oracle(cell), "memorized", second=True)
    return SecondJudge(
        memorized=memorized.rate,
        controls=controls.rate if controls else None,
        oracle=oracle.rate if oracle else None,
        verdicts=outcomes.verdicts(cell, "memorized"),
        verdicts_on_controls=outcomes.verdicts(cell, "control") if controls else None,
    )
