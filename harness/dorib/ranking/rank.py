"""rank: Record -> Entry. Pure: the same facts and records give the same entries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from dorib.contracts.methods import CLIP_ALIGNMENT
from dorib.host.configure import NONE
from dorib.ranking.checks.reasons import reasons_not_ranked
from dorib.ranking.comparisons import (
    erasure_gap,
    rates_at_thresholds,
    second_judge,
    share_recovered,
    work_to_break,
)
from dorib.ranking.entries import Entry
from dorib.ranking.entry_fields import BudgetPoint, Samples, Summaries, Work
from dorib.ranking.facts import CellFacts, RunFacts, SampleFacts
from dorib.ranking.observations import Observations, Place
from dorib.ranking.outcomes import Outcomes, place
from dorib.ranking.probes import probe_result
from dorib.ranking.rates import ProbeResult
from dorib.ranking.records import Record
from dorib.ranking.utility import Utility, measure_utility


def rank(run: RunFacts, cells: Sequence[CellFacts], records: Iterable[Record]) -> list[Entry]:
    """One entry for each cell, in order.

    Args:
        run: What all cells share; its samples are the denominators, whatever records there are.
        cells: Every cell of the run, the reference lines among them.
        records: All records of the run, in any order.
    """
    return rank_some(run, cells, Observations(records), cells)


def rank_some(
    run: RunFacts,
    cells: Sequence[CellFacts],
    observations: Observations,
    chosen: Sequence[CellFacts],
) -> list[Entry]:
    """The entries of `chosen` beside all `cells`: as `rank` gives them, without the others."""
    outcomes = Outcomes(run, cells, observations)
    prompts = run.utility_prompts if CLIP_ALIGNMENT in run.quantities else ()
    utilities = {
        label: measure_utility(observations, label, NONE, prompts, run.utility_kinds)
        for label in {cell.mitigation.label for cell in chosen}
    }
    return [
        _entry(outcomes, observations, cell, utilities[cell.mitigation.label]) for cell in chosen
    ]


def _entry(
    outcomes: Outcomes, observations: Observations, cell: CellFacts, utility: Utility
) -> Entry:
    run = outcomes.run
    curve = tuple(_point(outcomes, observations, cell, b) for b in outcomes.budgets(cell))
    last = curve[-1] if curve else None
    gap, gap_reference = erasure_gap(outcomes, cell)
    errors = len(outcomes.errors(cell) | utility.errors)
    reasons = "; ".join(
        reasons_not_ranked(
            reference_line=_is_reference(run, cell),
            not_applicable=cell.not_applicable,
            memorization_rate=last.memorized if last else None,
            oracle_rate=last.oracle if last else None,
            erasure_gap=gap,
            utility=utility.share,
            errors=errors,
            prompts_without_reference=len(utility.reference_errors),
        )
    )
    return Entry(
        schema_version=4,
        suite=run.suite,
        split=run.split,
        profile=run.profile,
        mitigation=cell.mitigation,
        scope=cell.scope,
        attack=cell.attack,
        knows=tuple(sorted(cell.knows)),
        searches=cell.searches,
        bypass=cell.bypass,
        adaptive=cell.adaptive,
        not_applicable=cell.not_applicable,
        k=run.k,
        required_attacks=run.required_attacks or outcomes.attacks,
        samples=_samples(run),
        curve=curve,
        memorization_rate=last.memorized if last else None,
        controls_rate=last.controls if last else None,
        oracle_rate=last.oracle if last else None,
        replication_rate=last.replication_rate if last else None,
        erasure_gap=gap,
        gap_reference=gap_reference,
        recovered_share=share_recovered(outcomes, cell),
        rates_at_thresholds=rates_at_thresholds(outcomes, cell),
        second_judge=second_judge(outcomes, cell),
        utility=utility.share,
        utility_by_kind=utility.by_kind,
        prompts_without_reference=len(utility.reference_errors),
        summaries=_summaries(outcomes, observations, cell),
        probes=_probes(outcomes, observations, cell),
        work_to_break=work_to_break(outcomes, cell, "memorized"),
        work_to_break_controls=work_to_break(outcomes, cell, "control"),
        work=_work(outcomes, cell),
        smallest_batch=cell.smallest_batch,
        errors=errors,
        ranked=not reasons,
        reason_not_ranked=reasons or None,
        reference_line=_is_reference(run, cell),
        stack={metric: dict(stack) for metric, stack in sorted(run.stack.items())},
        environment=cell.environment or run.environment,
        digests=cell.digests,
        settings=cell.settings,
        older=cell.older,
    )


def _probes(
    outcomes: Outcomes, observations: Observations, cell: CellFacts
) -> dict[str, ProbeResult]:
    results = {
        label: probe_result(observations, outcomes.run, cell.mitigation.label, label, knows)
        for label, knows in sorted(outcomes.run.probes.items())
    }
    return {label: result for label, result in results.items() if result}


def _is_reference(run: RunFacts, cell: CellFacts) -> bool:
    return cell.mitigation.label in (NONE, run.oracle)


def _point(
    outcomes: Outcomes, observations: Observations, cell: CellFacts, budget: int
) -> BudgetPoint:
    run = outcomes.run
    memorized = outcomes.at(cell, budget, "memorized")
    controls = outcomes.at(cell, budget, "control")
    oracle = outcomes.at(outcomes.oracle(cell), budget, "memorized")
    summaries = observations.summaries(place(cell, budget, "memorized"), run.quantities)
    return BudgetPoint(
        budget=budget,
        memorized=memorized.rate if memorized else None,
        controls=controls.rate if controls else None,
        oracle=oracle.rate if oracle else None,
        replication_rate=memorized.replication_rate if memorized else None,
        work=_mean_work(cell, run.memorized, budget),
        medians={name: summary.median for name, summary in summaries.items()},
    )


def _samples(run: RunFacts) -> Samples:
    return Samples(
        memorized=len(run.memorized),
        controls=len(run.controls),
        clusters=len({sample.cluster for sample in run.memorized}),
        utility_prompts=len(run.utility_prompts),
        unscorable=run.unscorable,
    )


def _summaries(outcomes: Outcomes, observations: Observations, cell: CellFacts) -> Summaries:
    budget = max(outcomes.budgets(cell), default=0)
    quantities = outcomes.run.quantities
    utility = Place(cell.mitigation.label, None, 0, "utility")
    return Summaries(
        memorized=observations.summaries(place(cell, budget, "memorized"), quantities),
        controls=observations.summaries(place(cell, budget, "control"), quantities),
        utility=observations.summaries(utility, quantities),
    )


def _work(outcomes: Outcomes, cell: CellFacts) -> Work:
    budget = max(outcomes.budgets(cell), default=0)
    return Work(
        fit=cell.fit_work,
        search_mean_memorized=_mean_work(cell, outcomes.run.memorized, budget),
        search_mean_controls=_mean_work(cell, outcomes.run.controls, budget),
        judging=cell.judging_work,
        rule=cell.rule_work,
    )


def _mean_work(cell: CellFacts, group: Sequence[SampleFacts], budget: int) -> float:
    """Over the searches that came to an end; what a crashed one cost is not known."""
    work = [cell.work[s.id, budget] for s in group if (s.id, budget) in cell.work]
    return float(np.mean(work)) if work else 0.0
