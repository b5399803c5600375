"""The verbs that a run will go through, each with the work that is left for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from dorib.contracts.methods import NO_WORK, PlannedSearch, PlannedWork, Scale
from dorib.errors import DoribError
from dorib.host.calls import before_work
from dorib.host.configure import Configured
from dorib.host.told import planned_by
from dorib.plan.edits import PlannedEdit, planned_edit
from dorib.report.run import Run
from dorib.store.store import Shelf
from dorib.verbs.acting import EVERYWHERE
from dorib.verbs.attack import Attacked, budgets_of, trigger_item, triggers_shelf
from dorib.verbs.context import Subject
from dorib.verbs.generate import Generated, Request, images_shelf, places_asked, utility_shelf
from dorib.verbs.judging import Cell
from dorib.verbs.measure import unmeasured
from dorib.verbs.probing import probes_shelf

Verb: TypeAlias = Literal["mitigate", "attack", "generate", "measure", "probe"]


@dataclass(frozen=True)
class Step:
    """One verb at work, by the names that a reporter hears."""

    verb: Verb
    subject: str
    mitigation: str
    attack: str | None
    """None where the work is for all attacks of the mitigation."""
    work: PlannedWork | None = NO_WORK
    """U-Net items; None where nobody can say."""
    rule: PlannedWork | None = NO_WORK
    """What sampling rules cost beside them; None where nobody can say."""
    images: int = 0
    """To be drawn, or to be measured."""
    metric: str | None = None
    triggers: int = 0
    """To be stored."""


@dataclass
class PlannedCell:
    """One mitigation under one attack."""

    mitigation: str
    attack: str
    images: int
    """In all."""
    stored: int = 0
    """Of the images."""
    same_as: str | None = None
    """The cell that has the same images, which are drawn once."""
    refused: str | None = None
    """Why the method will refuse, where it says so beforehand."""


@dataclass
class Walk:
    """All that a run will do, in its order."""

    steps: list[Step] = field(default_factory=list)
    cells: list[PlannedCell] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """By mitigation, why its fit will refuse."""
    shared: PlannedWork = NO_WORK
    """U-Net items of what cells share, each counted for every cell but the one that has it made."""


@dataclass(frozen=True)
class _Searched:
    """What an attack will have found under one mitigation."""

    attacked: Attacked
    asked: str
    """Names the triggers."""
    planned: PlannedSearch | None
    is_stored: bool


def walk(this: Run, scale: Scale) -> Walk:
    """Go through the run without doing it; its store is only looked at."""
    walker = _Walker(this, scale)
    for method in this.mitigations:
        walker.mitigation(method)
    return walker.walk


class _Walker:
    def __init__(self, this: Run, scale: Scale) -> None:
        self.walk = Walk()
        self._this = this
        self._context = this.context
        self._scale = scale
        self._made: dict[tuple[str, str], str] = {}
        """By shelf and item, the cell that has it made."""
        self._unmitigated: PlannedEdit | None = None
        self._twins: Generated | None = None
        self._utility_twins: Generated | None = None

    def mitigation(self, method: Configured) -> None:
        this, context = self._this, self._context
        judged = [*this.subjects, *(context.utility_prompts if this.needs_utility else ())]
        behind = list(dict.fromkeys(context.memorized_behind(subject) for subject in judged))
        edit = planned_edit(context, method, behind, self._scale)
        self._unmitigated = self._unmitigated or edit
        if edit.refused:
            # Nothing comes of it; the other rows stand.
            self.walk.refused[method.label] = edit.refused
        else:
            self._before_attacks(edit)
        for attack in this.attacks:
            self._cell(edit, attack)

    def _before_attacks(self, edit: PlannedEdit) -> None:
        if not edit.is_stored:
            self._add(Step("mitigate", edit.label, edit.label, None, work=edit.work))
        if self._this.needs_utility:
            self._utility(edit)
        for probe in self._this.probes:
            self._probe(edit, probe)

    def _add(self, step: Step) -> None:
        self.walk.steps.append(step)

    def _take(self, shelf: Shelf, items: Sequence[str], owner: str) -> tuple[list[str], list[str]]:
        """Those of `items` that must be made, and those that another cell has made."""
        missing = shelf.missing(items)
        new = [item for item in missing if (shelf.key, item) not in self._made]
        self._made.update({(shelf.key, item): owner for item in new})
        return new, [item for item in missing if self._made[shelf.key, item] != owner]

    def _utility(self, edit: PlannedEdit) -> None:
        context, label = self._context, edit.label
        shelf = utility_shelf(context, edit.key(EVERYWHERE))
        prompts = context.utility_prompts
        items = [Request(prompt, 0, 0).item for prompt in prompts]
        new, _ = self._take(shelf, items, f"{label}, utility prompts")
        if new:
            self._add(
                Step(
                    "generate",
                    f"{label}, utility prompts",
                    label,
                    None,
                    work=edit.image_work() * len(new),
                    rule=edit.rule_work(len(new)),
                    images=len(new),
                )
            )
        self._utility_twins = self._utility_twins or Generated(shelf)
        cell = Cell(edit.mitigated, None, Generated(shelf), (0,), self._utility_twins)
        is_whole = not shelf.missing(items)
        self._measure(edit, None, "utility", cell if is_whole else None, prompts, len(items))

    def _probe(self, edit: PlannedEdit, probe: Configured) -> None:
        shelf = probes_shelf(self._context, edit.mitigated, probe, edit.key(EVERYWHERE))
        tags = [subject.tag for subject in self._this.subjects]
        missing = len(shelf.missing(tags)) if edit.is_stored else len(tags)
        if missing:
            with before_work():
                each = planned_by(probe, PlannedWork, lambda: probe.probe.planned(self._scale))
            work = each and each * missing
            self._add(Step("probe", f"{edit.label}: {probe.label}", edit.label, None, work=work))

    def _cell(self, edit: PlannedEdit, method: Configured) -> None:
        context, subjects = self._context, self._this.subjects
        seeds = context.evaluation_seeds
        budgets = budgets_of(context, method)
        requests = [Request(s, b, seed) for s in subjects for b in budgets for seed in seeds]
        cell = PlannedCell(edit.label, method.label, len(requests))
        self.walk.cells.append(cell)
        if edit.refused:
            return
        try:
            found = self._search(edit, method)
        except DoribError as error:
            cell.refused = str(error)
            return
        in_words = found.planned is None or found.planned.in_words
        places = EVERYWHERE if in_words else EVERYWHERE - {"prompt"}
        if found.is_stored and edit.is_stored:
            places = places_asked(edit.mitigated, found.attacked, subjects)
        shelf = images_shelf(context, found.asked, edit.key(places))
        label = f"{edit.label} x {method.label}"
        items = [request.item for request in requests]
        new, others = self._take(shelf, items, label)
        cell.stored = len(items) - len(shelf.missing(items))
        if others:
            cell.same_as = self._made[shelf.key, others[0]]
        each = edit.image_work(found.planned.strength if found.planned else 1.0)
        self.walk.shared += each * len(others)
        if new:
            rule = edit.rule_work(len(new))
            self._add(
                Step("generate", label, edit.label, method.label, each * len(new), rule, len(new))
            )
        self._twins = self._twins or Generated(shelf)
        made = Cell(edit.mitigated, found.attacked, Generated(shelf), seeds, self._twins)
        whole = None if shelf.missing(items) else made
        self._measure(edit, method, "generations", whole, subjects, len(items))

    def _search(self, edit: PlannedEdit, method: Configured) -> _Searched:
        """What will be found, the search added to the steps where there is something to search."""
        source = None
        if method.replayed:
            assert self._unmitigated is not None
            source = self._search(self._unmitigated, method.replayed)
        context, subjects = self._context, self._this.subjects
        budgets = budgets_of(context, method)
        with before_work():
            planned = planned_by(
                method, PlannedSearch, lambda: method.attack.planned(self._scale, budgets[-1])
            )
        key = edit.key(method.attack.feels)
        shelf = triggers_shelf(context, method, key, source.attacked.key if source else None)
        attacked = Attacked(method, budgets, shelf, replayed=source.attacked if source else None)
        items = [trigger_item(subject, budgets[-1]) for subject in subjects]
        label = f"{edit.label} x {method.label}"
        new, others = self._take(shelf, items, label)
        work = _search_work(method, budgets[-1], planned)
        self.walk.shared += work * len(others)
        if new:
            rule = edit.felt_work(work * len(new), method.attack.feels)
            step = Step("attack", label, edit.label, method.label, work * len(new), rule)
            self._add(replace(step, triggers=len(new) * len(budgets)))
        is_stored = not shelf.missing(items)
        asked = source.asked if source and planned else shelf.key
        if is_stored and (source is None or source.is_stored):
            asked = attacked.asked_key(subjects)
        return _Searched(attacked, asked, planned, is_stored)

    def _measure(
        self,
        edit: PlannedEdit,
        method: Configured | None,
        need: Literal["utility", "generations"],
        cell: Cell | None,
        subjects: Sequence[Subject],
        images: int,
    ) -> None:
        """`cell` where all of its images are there already."""
        attack = method.label if method else None
        for metric in self._this.metrics:
            if need not in metric.metric.needs:
                continue
            missing = images
            if cell is not None:
                waiting = unmeasured(self._context, metric, cell, subjects)
                missing = waiting * len(cell.seeds)
            if missing:
                subject = f"{metric.label}: {edit.label} x {attack or 'utility prompts'}"
                self._add(
                    Step(
                        "measure",
                        subject,
                        edit.label,
                        attack,
                        images=missing,
                        metric=metric.label,
                    )
                )


def _search_work(method: Configured, budget: int, planned: PlannedSearch | None) -> PlannedWork:
    if planned is not None:
        return planned.work
    if not method.attack.searches:
        return PlannedWork(exact=False)
    # By gradients it may be, which take longer an item than passes forward.
    return PlannedWork(gradient=budget, exact=False)
