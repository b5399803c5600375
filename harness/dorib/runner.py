"""The runner: every mitigation against every attack, through the five verbs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from dorib.config import RunConfig
from dorib.contracts.methods import Method
from dorib.contracts.specs import MethodSpec, spec_of
from dorib.errors import DoribError
from dorib.host.calls import before_work, interrupts_told_apart, of_plugin
from dorib.host.configure import NONE, ORACLE, Configured, configure_all
from dorib.host.processors import threads_of_one_of
from dorib.host.registry import Registry
from dorib.host.told import scope_of
from dorib.plan.ahead import foresee
from dorib.plan.plan import Plan, plan_of
from dorib.plan.speeds import Clock
from dorib.ranking.facts import CellFacts
from dorib.ranking.records import Record
from dorib.report.board.computing import Stopwatch
from dorib.report.results import (
    cell_facts,
    finish,
    note_computed,
    open_board,
    publish,
)
from dorib.report.run import Run
from dorib.report.run_result import RunResult
from dorib.reporting import Advance, Reporter, Silent
from dorib.session import Session
from dorib.store.looking import LookedAtStore
from dorib.suites.attribution import attributions
from dorib.suites.suite import Suite
from dorib.verbs.attack import Attacked, attack
from dorib.verbs.context import RunContext, Subject
from dorib.verbs.generate import generate_attacked, generate_utility
from dorib.verbs.judging import Cell
from dorib.verbs.measure import measure
from dorib.verbs.mitigate import Mitigated, mitigate
from dorib.verbs.preparation.mitigations import prepare_mitigations
from dorib.verbs.preparation.readiness import require_ready
from dorib.verbs.probing import probe
from dorib.verbs.unscorable import unscorable_records


@dataclass(frozen=True)
class Row:
    """A mitigation of a run, fitted."""

    mitigated: Mitigated
    behind: list[Subject]
    """The memorized samples whose edits act in it."""


def run(config: RunConfig, registry: Registry, reporter: Reporter | None = None) -> RunResult:
    """Score every mitigation of `config` against every attack.

    `none` is a mitigation and an attack of every run, and the suite's oracle a mitigation.

    Raises:
        DoribError: something the user can mend; raised before any work where it can be known.
    """
    counted = _Counting(reporter or Silent())
    stopwatch = Stopwatch(counted)
    with interrupts_told_apart():
        this = prepare(config, registry, stopwatch)
        this.stopwatch = stopwatch
        foresee(this, reporter)
        for mitigation in this.mitigations:
            _run_mitigation(this, mitigation)
        return finish(this, reused=counted.verbs == 0)


def plan(
    config: RunConfig,
    registry: Registry,
    reporter: Reporter | None = None,
    clock: Clock = time.perf_counter,
) -> Plan:
    """What `run` would do with the same; nothing of it is done.

    How fast this machine is by `clock` is measured once, and kept in the store of the run; with
    several workers, on the threads that one of them has.

    Raises:
        DoribError: as `run`.
    """
    workers = config.workers or 1
    with interrupts_told_apart(), threads_of_one_of(workers):
        this = prepare(config, registry, reporter or Silent(), looks_only=True)
        return plan_of(this, clock=clock, workers=workers)[0]


def prepare(
    config: RunConfig, registry: Registry, reporter: Reporter, *, looks_only: bool = False
) -> Run:
    """What is to be scored, resolved and looked at; into the store only, with `looks_only`.

    Raises:
        DoribError: something the user can mend.
    """
    context = Session.open(config, registry, reporter)
    if looks_only:
        context.store = LookedAtStore(context.store.root)
    suite = context.suite
    oracle = [ORACLE] if suite.manifest.oracle else []
    mitigations = configure_all(
        registry,
        "mitigation",
        config.mitigation,
        first=[NONE, *oracle],
        not_in_all=[] if oracle else [ORACLE],
    )
    attacks = configure_all(registry, "attack", _asked_attacks(suite, config), first=[NONE])
    for method in attacks:
        if method.replayed and not method.replayed.attack.searches:
            raise DoribError(
                f"attack {method.label}: {method.replayed.label} searches nothing, so there is "
                "nothing to replay; name an attack that does"
            )
    metrics = configure_all(registry, "metric", config.metric)
    probes = configure_all(registry, "probe", config.probe)
    _refuse_double_quantities(metrics)
    for method in mitigations:
        scope_of(method)
    # Read now what a long run would otherwise trip over late.
    for subject in (*context.memorized_of_split, *context.controls):
        context.originals(subject)
    for pair in context.general_pairs:
        pair.read()
    attributions(suite)
    if not context.memorized:
        raise DoribError(
            f"suite {suite.name}: none of the memorized samples asked for has an original image; "
            + _where_originals_come_from(suite)
        )
    if context.unscorable:
        reporter.note(f"{len(context.unscorable)} samples have no original: unscorable")
    if not (suite.utility_prompts and suite.general_captions):
        raise DoribError(f"suite {suite.name}: no captions; add them")
    for metric in metrics:
        with before_work(), of_plugin(metric):
            context.prepare(metric)
    this = Run(context, config.out, config.profile_name, mitigations, attacks, metrics, probes)
    open_board(this)
    require_ready(context)
    _refuse_unfit(context, [*mitigations, *attacks, *probes])
    prepare_mitigations(context, mitigations)
    if context.loaded_model is not None:
        reporter.note(f"{suite.name} on {context.device} in {context.dtype}")
    return this


def _where_originals_come_from(suite: Suite) -> str:
    fetch = suite.manifest.fetch
    if fetch is None:
        return "give them one"
    if fetch.originals:
        return f"run `dorib fetch {suite.reference}`"
    return f"nobody publishes them: run `dorib cliques --suite {suite.reference}`"


def _refuse_unfit(context: RunContext, methods: Sequence[Configured]) -> None:
    for method in methods:
        for one in (method, *method.parts.values()):
            # Most work on all there are: for them no model need be loaded.
            if one.method.conditioning >= Method.conditioning:
                continue
            lacking = context.model.conditioning - one.method.conditioning
            if lacking:
                raise DoribError(
                    f"{one.registration.kind} {one.label}: cannot work on "
                    f"{', '.join(sorted(lacking))}, which the pipeline of suite "
                    f"{context.suite.name} has; choose another"
                )


def _refuse_double_quantities(metrics: Sequence[Configured]) -> None:
    owners: dict[str, str] = {}
    for metric in metrics:
        for quantity in metric.metric.quantities:
            owner = owners.setdefault(quantity, metric.label)
            if owner != metric.label:
                raise DoribError(
                    f"metrics {owner} and {metric.label} both report {quantity}; leave one out, or "
                    "give each a run of its own"
                )


def _asked_attacks(suite: Suite, config: RunConfig) -> list[MethodSpec]:
    """Those of the run, `required` being the suite's."""
    specs: list[MethodSpec] = []
    for spec in config.attack:
        if spec != MethodSpec(name="required"):
            specs.append(spec)
            continue
        if not suite.manifest.required_attacks:
            raise DoribError(
                f"attack required: suite {suite.name} requires none; name attacks, or list them as "
                "required_attacks in its suite.yaml"
            )
        specs += [spec_of(attack) for attack in suite.manifest.required_attacks]
    return specs


def _run_mitigation(this: Run, mitigation: Configured) -> None:
    with this.context.store.noting_shelves() as shelves:
        row = fit_row(this, mitigation)
        of_mitigation = judge_without_attack(this, row)
        shelves_of_mitigation = {*shelves}
        note_computed(this, mitigation.label)
        for method in this.attacks:
            shelves.clear()
            cell, facts, records = judge_cell(this, row, method)
            publish(this, cell, facts, records, of_mitigation, shelves_of_mitigation | shelves)


def fit_row(this: Run, mitigation: Configured) -> Row:
    """The mitigation fitted to all that the run judges."""
    context = this.context
    judged = [*this.subjects, *(context.utility_prompts if this.needs_utility else ())]
    behind = list(dict.fromkeys(context.memorized_behind(subject) for subject in judged))
    return Row(mitigate(context, mitigation, behind), behind)


def judge_without_attack(this: Run, row: Row) -> list[Record]:
    """The records of a row's utility prompts and probes."""
    context = this.context
    records: list[Record] = []
    if this.needs_utility:
        generated = generate_utility(context, row.mitigated, this.judged_prompts)
        this.utility_twins = this.utility_twins or generated
        cell = Cell(row.mitigated, None, generated, seeds=(0,), twins=this.utility_twins)
        for metric in this.metrics:
            if "utility" in metric.metric.needs:
                records += measure(context, metric, cell, this.judged_prompts)
    for method in this.probes:
        records += probe(context, row.mitigated, method, this.subjects)
    this.records += records
    return records


def judge_cell(this: Run, row: Row, method: Configured) -> tuple[Cell, CellFacts, list[Record]]:
    """One attack on a row's mitigation; the unmitigated model's under no attack comes first.

    Gives what was made, what ranking must know of it, and its records.
    """
    context = this.context
    attacked = _attack(this, row.mitigated, method)
    generated = generate_attacked(context, row.mitigated, attacked, this.judged)
    unmitigated = this.made.get((NONE, NONE))
    twins = unmitigated.generated if unmitigated else generated
    cell = Cell(row.mitigated, attacked, generated, context.evaluation_seeds, twins)
    this.made[row.mitigated.method.label, method.label] = cell
    records = [
        record
        for metric in this.metrics
        if "generations" in metric.metric.needs
        for record in measure(context, metric, cell, this.judged)
    ]
    records += unscorable_records(cell, context.unscorable)
    this.records += records
    return cell, cell_facts(this, cell, row.behind, records), records


def _attack(this: Run, mitigated: Mitigated, method: Configured) -> Attacked:
    """The attack; before it the one that it replays, on the unmitigated model, or its store."""
    replayed = None
    if method.replayed:
        unmitigated = this.made[NONE, NONE].mitigated
        replayed = _attack(this, unmitigated, method.replayed)
    return attack(this.context, mitigated, method, this.subjects, replayed)


class _Counting:
    """Passes reports on and counts the verbs that had work to do."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.verbs = 0

    def verb(self, name: str, subject: str, total: int) -> AbstractContextManager[Advance]:
        """A verb starts."""
        self.verbs += 1
        return self._reporter.verb(name, subject, total)

    def note(self, text: str) -> None:
        """Pass a note on."""
        self._reporter.note(text)

    def failure(self, text: str, error: BaseException) -> None:
        """Pass a failure on."""
        self._reporter.failure(text, error)
