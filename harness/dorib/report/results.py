"""From a run's cells and records to what it leaves behind: entries, leaderboard, pictures."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from dorib.contracts.methods import REPLICATES, Quantity
from dorib.host.configure import NONE, ORACLE, Configured
from dorib.host.rules import is_adaptive, is_bypassed
from dorib.ranking.entries import Entry
from dorib.ranking.entry_fields import Digests, Environment, MethodFacts, ProfileName, SuiteFacts
from dorib.ranking.facts import CellFacts, RunFacts, SampleFacts
from dorib.ranking.leaderboard import entry_file, write_leaderboard
from dorib.ranking.rank import rank
from dorib.ranking.records import Record, write_records
from dorib.report.failures import failed_altogether
from dorib.report.gallery import write_gallery
from dorib.report.pictures import Column, draw_strips
from dorib.report.run import Run
from dorib.store.files import named_write_errors, sweep, whole_file
from dorib.store.fingerprint import digest, library_versions
from dorib.verbs.attack import trigger_item
from dorib.verbs.context import Subject
from dorib.verbs.generate import Request
from dorib.verbs.judging import Cell
from dorib.verbs.memory import smallest_batch

LITERATURE_THRESHOLDS = 0.5, 0.7
"""Cosines of the official SSCD from which an image is called a copy: Somepalli et al., arXiv
2212.03860, and Kowalczuk et al., arXiv 2507.16880."""


@dataclass(frozen=True)
class RunResult:
    """What a run leaves behind."""

    entries: list[Entry]
    leaderboard: Path
    entry_files: list[Path]
    pictures: dict[tuple[str, str], Path]
    """By mitigation and attack: a folder with one strip for each sample and an overview."""
    records: Path
    profile: ProfileName
    reused: bool
    """Nothing had to be computed: everything was in the store."""
    lacking: tuple[str, ...] = ()
    """Attacks that the suite requires for a rank and that were not run."""
    failed: tuple[str, ...] = ()
    """One reason for each method of which nothing came."""


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


def finish(this: Run, *, reused: bool) -> RunResult:
    """Rank the records and write what readers look at: entries, leaderboard, pictures.

    Raises:
        DoribError: the disk is full or not writable.
    """
    context = this.context
    out = this.out
    entries = rank(_run_facts(this), this.cells, this.records)
    pictures = {}
    with named_write_errors(out):
        for folder in (out, out / "entries"):
            sweep(folder)
        for place, cell in this.made.items():
            assert cell.attacked is not None
            slug = f"{cell.mitigated.method.slug}.{cell.attacked.method.slug}"
            pictures[place] = out / "pictures" / slug
            draw_strips(pictures[place], context.memorized, context.originals, _columns(this, cell))
        write_gallery(this)
        with whole_file(out / "records.jsonl") as temporary:
            write_records(temporary, this.records)
    required = context.suite.manifest.required_attacks
    leaderboard = write_leaderboard(out, entries, required or None)
    files = [out / entry_file(entry) for entry in entries]
    records = out / "records.jsonl"
    ran = {attack.label for attack in this.attacks}
    lacking = tuple(attack for attack in required if attack not in ran)
    failed = failed_altogether(this)
    return RunResult(
        entries, leaderboard, files, pictures, records, this.profile_name, reused, lacking, failed
    )


def _columns(this: Run, cell: Cell) -> list[Column]:
    """Unmitigated, mitigated, attacked: each within its largest budget."""
    columns = {
        "unmitigated": this.made[NONE, NONE],
        cell.mitigation: this.made[cell.mitigation, NONE],
        f"+ {cell.attack}": cell,
    }
    return [
        Column(title, _best_images(this, shown))
        for title, shown in columns.items()
        if not (title == NONE or title == f"+ {NONE}")
    ]


def _best_images(this: Run, cell: Cell) -> dict[str, Path]:
    """By sample: of its evaluation images the one nearest to the original, as the rate judges.

    Of the images at all budgets: what broke at a smaller one is broken, and shown.
    """
    assert cell.attacked is not None
    nearness = {
        (record.sample, record.budget, record.seed): record.value
        for record in this.records
        if record.mitigation == cell.mitigation
        and record.attack == cell.attack
        and record.metric == "sscd_original"
        and record.value is not None
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


def _run_facts(this: Run) -> RunFacts:
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
        stack={metric.label: metric.metric.stack() for metric in this.metrics},
        environment=Environment(
            dorib=version("dorib"),
            python=platform.python_version(),
            device=str(context.device),
            dtype=context.settings.dtype,
            **library_versions(),
        ),
        oracle=labels.get(ORACLE),
        required_attacks=manifest.required_attacks,
        thresholds=_thresholds(this),
        probes={one.label: tuple(sorted(one.probe.knows)) for one in this.probes},
        unscorable=len(context.unscorable),
    )


def _thresholds(this: Run) -> tuple[float, ...]:
    """Those of the literature, where the official descriptor decides what replicates."""
    for metric in this.metrics:
        if REPLICATES in metric.metric.quantities and metric.metric.stack().get("official"):
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
