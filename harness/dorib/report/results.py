"""From a run's cells and records to what it leaves behind: entries, leaderboard, pictures."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from dorib.contracts.methods import REPLICATES, Quantity
from dorib.host.configure import ORACLE, Configured
from dorib.host.rules import is_adaptive, is_bypassed
from dorib.host.told import stack_of
from dorib.ranking.entry_fields import (
    Digests,
    Environment,
    MethodFacts,
    RunSettings,
    SuiteFacts,
)
from dorib.ranking.facts import CellFacts, RunFacts, SampleFacts
from dorib.ranking.leaderboard import LEADERBOARD_FILE, entry_file
from dorib.ranking.records import Record
from dorib.report.board.computing import processor_name
from dorib.report.board.kept import KeptCell, KeptFacts
from dorib.report.board.publishing import RECORDS_FILE, Publisher, name_of
from dorib.report.failures import failed_altogether
from dorib.report.gallery import write_gallery
from dorib.report.pictures import can_be_shown, draw_original
from dorib.report.run import Run
from dorib.report.run_result import RunResult
from dorib.store.files import named_write_errors
from dorib.store.fingerprint import digest, library_versions
from dorib.verbs.attack import trigger_item
from dorib.verbs.context import Subject
from dorib.verbs.generate import Request
from dorib.verbs.judging import Cell
from dorib.verbs.memory import smallest_batch
from dorib.verbs.settings import Settings

LITERATURE_THRESHOLDS = 0.5, 0.7
"""Cosines of the official SSCD from which an image is called a copy: Somepalli et al., arXiv
2212.03860, and Kowalczuk et al., arXiv 2507.16880."""


def cell_facts(
    this: Run, cell: Cell, behind: Sequence[Subject], records: Sequence[Record]
) -> CellFacts:
    """What ranking must know of one cell."""
    attacked = cell.attacked
    assert attacked is not None
    method = attacked.method
    scored = [subject for subject in this.subjects if subject.id not in attacked.failures]
    work = {
        (subject.id, budget): attacked.trigger(subject, budget).work
        for subject in scored
        for budget in attacked.budgets
        if method.attack.searches
    }
    images = [
        request
        for subject in this.subjects
        for budget in attacked.budgets
        for request in (Request(subject, budget, seed) for seed in cell.seeds)
        if request.item in cell.generated.shelf
    ]
    searched = [
        attacked.shelf[trigger_item(subject, budget)]
        for subject in scored
        for budget in attacked.budgets
    ]
    passing = _passing(this, cell, scored)
    sampling = this.context.suite.manifest.sampling
    guided = 2 if sampling.guidance_scale > 1 else 1
    return CellFacts(
        mitigation=_method_facts(cell.mitigated.method),
        scope=cell.mitigated.scope,
        attack=_method_facts(method),
        knows=frozenset(method.attack.knows),
        searches=method.attack.searches,
        digests=Digests(
            model=digest(this.context.model_key),
            edit=cell.mitigated.digest(behind),
            triggers=digest(
                {
                    trigger_item(subject, budget): attacked.digest(subject, budget)
                    for subject in scored
                    for budget in attacked.budgets
                }
            ),
            images=digest({f"{r.item}.png": cell.generated.digest(r) for r in images}),
            records=digest([record.model_dump(mode="json") for record in records]),
        ),
        work=work,
        fit_work=cell.mitigated.work(behind),
        judging_work=len(images) * sampling.steps * guided,
        smallest_batch=smallest_batch([*searched, *(cell.generated.shelf[r.item] for r in images)]),
        bypass=bool(passing["bypass"]),
        adaptive=passing["adaptive"],
        rule_work=_rule_work(cell, images),
        settings=_settings(this.context.settings),
    )


def _settings(settings: Settings) -> RunSettings:
    return RunSettings(
        root_seed=settings.root_seed, limit=settings.limit, batch_size=settings.batch_size
    )


def _passing(this: Run, cell: Cell, scored: Sequence[Subject]) -> dict[str, bool | None]:
    """How the attack's triggers get past what the mitigation does: by construction, or searched
    for while it acted."""
    outline, attacked = cell.mitigated.outline, cell.attacked
    assert attacked is not None
    facts: dict[str, bool | None] = {"bypass": False, "adaptive": None}
    if not (outline.rules or outline.names):
        return facts
    registry, attack = this.context.registry, attacked.method.attack
    for subject in scored:
        for budget in attacked.budgets:
            trigger = attacked.trigger(subject, budget)
            facts["bypass"] = facts["bypass"] or is_bypassed(outline, registry, trigger)
            adaptive = is_adaptive(outline.rules, registry, attack, trigger)
            if adaptive is not None:
                facts["adaptive"] = adaptive and facts["adaptive"] is not False
    return facts


def _rule_work(cell: Cell, images: Sequence[Request]) -> float:
    """What sampling rules cost an image, in U-Net items."""
    if not (cell.mitigated.outline.rules and images):
        return 0.0
    return sum(cell.generated.rule_work(images).values()) / len(images)


def open_board(this: Run) -> None:
    """Take the board in the run's folder, to which the run's cells are added one by one.

    Raises:
        DoribError: the one there is of another suite, split, profile, k or making.
    """
    context = this.context
    this.publisher = Publisher.open(
        this.out, context.store, run_facts(this), context.model_key, context.reporter.note
    )
    this.publisher.planned = [(m.label, a.label) for m in this.mitigations for a in this.attacks]


def publish(
    this: Run,
    cell: Cell,
    facts: CellFacts,
    records: Sequence[Record],
    records_of_mitigation: Sequence[Record],
    shelves: Iterable[str],
) -> None:
    """Put a finished cell on the board, and write what readers look at.

    Args:
        this: the run.
        cell: what was made.
        facts: what ranking must know of it.
        records: its own.
        records_of_mitigation: those of utility prompts and probes under its mitigation.
        shelves: places in the store of all that it was made from.

    Raises:
        DoribError: the disk is full or not writable.
    """
    publisher, context = this.publisher, this.context
    assert publisher is not None
    root = context.store.root
    images = _best_images(this, cell, records)
    kept = KeptCell(
        facts=KeptFacts.of(replace(facts, environment=_environment(this))),
        probes={one.label: tuple(sorted(one.probe.knows)) for one in this.probes},
        pictures={sample: path.relative_to(root).as_posix() for sample, path in images.items()},
        shelves=tuple(sorted(shelves)),
    )
    samples = [subject.id for subject in context.memorized]
    folder = publisher.board.folder
    with named_write_errors(this.out):
        folder.folder.mkdir(parents=True, exist_ok=True)
        for subject in context.memorized:
            if not can_be_shown(folder.original(subject.id)):
                draw_original(folder.original(subject.id), context.originals(subject)[0])
    computed = this.computed_of_mitigation | computed_since(this, name_of(*kept.labels))
    publisher.publish(kept, records, records_of_mitigation, computed, samples)


def note_computed(this: Run, mitigation: str) -> None:
    """Set down what was computed for a mitigation before it is attacked."""
    this.computed_of_mitigation = computed_since(this, name_of(mitigation))


def computed_since(this: Run, name: str) -> dict[str, dict[str, Any]]:
    """What was computed since this was last asked, as `name`; nothing where nothing was."""
    assert this.stopwatch is not None
    sampling = this.context.suite.manifest.sampling
    guided = 2 if sampling.guidance_scale > 1 else 1
    taken = this.stopwatch.taken(sampling.steps * guided)
    if taken is None:
        return {}
    environment = _environment(this)
    machine = {"processor": environment.processor, "threads": environment.threads}
    return {name: {**machine, **taken}}


def finish(this: Run, *, reused: bool) -> RunResult:
    """What the run leaves behind: all of it but the gallery is written by now.

    Raises:
        DoribError: the disk is full or not writable.
    """
    assert this.publisher is not None
    with named_write_errors(this.out):
        write_gallery(this, set(this.publisher.board.cells))
    entries, out = this.publisher.board.entries, this.out
    required = this.context.suite.manifest.required_attacks
    ran = {entry.attack.label for entry in entries}
    return RunResult(
        entries,
        out / LEADERBOARD_FILE,
        [out / entry_file(entry) for entry in entries],
        {place: out / "pictures" / cell.slug for place, cell in this.publisher.board.cells.items()},
        out / RECORDS_FILE,
        this.profile_name,
        reused,
        tuple(attack for attack in required if attack not in ran),
        failed_altogether(this),
    )


def _best_images(this: Run, cell: Cell, records: Sequence[Record]) -> dict[str, Path]:
    """By sample: of the evaluation images the one nearest to the original, as the rate judges.

    Of the images at all budgets: what broke at a smaller one is broken, and shown.
    """
    assert cell.attacked is not None
    nearness = {
        (record.sample, record.budget, record.seed): record.value
        for record in records
        if record.metric == "sscd_original" and record.value is not None
    }
    best: dict[str, Path] = {}
    for subject in this.context.memorized:
        # The largest first, so that it is shown where no likeness tells.
        budgets = reversed(cell.attacked.budgets)
        requests = [Request(subject, budget, seed) for budget in budgets for seed in cell.seeds]
        there = [request for request in requests if request.item in cell.generated.shelf]
        if there:
            nearest = max(there, key=lambda r: nearness.get((r.subject.id, r.budget, r.seed), -1.0))
            best[subject.id] = cell.generated.path(nearest)
    return best


def run_facts(this: Run) -> RunFacts:
    """What all cells of a run share."""
    context = this.context
    manifest = context.suite.manifest
    prompts = context.utility_prompts if this.needs_utility else ()
    quantities: dict[str, Quantity] = {}
    for metric in this.metrics:
        quantities |= metric.metric.quantities
    labels = {mitigation.name: mitigation.label for mitigation in this.mitigations}
    return RunFacts(
        suite=SuiteFacts(
            name=manifest.name, version=manifest.version, digest=context.suite.digest()
        ),
        split=context.settings.split,
        profile=this.profile_name,
        k=len(context.evaluation_seeds),
        memorized=tuple(SampleFacts(s.id, s.cluster) for s in context.memorized),
        controls=tuple(SampleFacts(s.id, s.cluster) for s in context.controls),
        utility_prompts=tuple(prompt.id for prompt in prompts),
        utility_kinds={prompt.id: prompt.kind for prompt in prompts if prompt.kind},
        budgets=context.profile.budgets,
        quantities=quantities,
        stack={metric.label: stack_of(metric) for metric in this.metrics},
        environment=_environment(this),
        oracle=labels.get(ORACLE),
        required_attacks=manifest.required_attacks,
        thresholds=_thresholds(this),
        probes={one.label: tuple(sorted(one.probe.knows)) for one in this.probes},
        unscorable=len(context.unscorable),
    )


def _environment(this: Run) -> Environment:
    device = this.context.device
    return Environment(
        dorib=version("dorib"),
        python=platform.python_version(),
        device=str(device),
        dtype=this.context.dtype,
        processor=processor_name(device),
        threads=torch.get_num_threads(),
        **library_versions(),
    )


def _thresholds(this: Run) -> tuple[float, ...]:
    """Those of the literature, where the official descriptor decides what replicates."""
    for metric in this.metrics:
        if REPLICATES in metric.metric.quantities and stack_of(metric).get("official"):
            return LITERATURE_THRESHOLDS
    return ()


def _method_facts(method: Configured) -> MethodFacts:
    return MethodFacts(
        label=method.label,
        name=method.name,
        plugin=method.registration.plugin,
        params=method.params,
        fingerprint=method.fingerprint,
        card=method.card,
    )
