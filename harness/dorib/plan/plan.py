"""The plan of a run: what there is to do, what it takes, and what will come of it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from dorib.contracts.methods import PlannedWork
from dorib.host.configure import NONE
from dorib.plan.ranks import reasons_expected
from dorib.plan.speeds import Clock, Speeds, kept_speeds, measured_speeds, scale_of
from dorib.plan.steps import PlannedCell, Step, Walk, walk
from dorib.ranking.entry_fields import ProfileName
from dorib.report.run import Run
from dorib.store.looking import LookedAtStore
from dorib.validation import StrictModel
from dorib.verbs.context import RunContext

FIT, ATTACK, GENERATE, PROBE, RULE = "fit", "attack", "generate", "probe", "rule"
OF_VERB = {"mitigate": FIT, "attack": ATTACK, "generate": GENERATE, "probe": PROBE}
"""What a verb's U-Net items are called in a plan; measuring costs none."""


class Items(StrictModel):
    """U-Net items, as `work` counts them."""

    items: int = 0
    exact: bool = True
    """Whether a run counts just so many; else no more, of what is known."""
    unknown: tuple[str, ...] = ()
    """Methods that cannot say what they cost, which is in no sum."""


class CellPlan(StrictModel):
    """One mitigation under one attack."""

    attack: str
    images: int
    """In all."""
    stored: int
    """Of the images."""
    work: Items
    """Of the search and the images, as far as they are left and no other cell has them made."""
    seconds: float | None
    """None where no speed was measured, or the work is not known."""
    same_as: str | None = None
    """The cell with the same images, which are drawn once."""
    refused: str | None = None
    """What the attack will refuse."""


class RowPlan(StrictModel):
    """One mitigation."""

    mitigation: str
    fit: Items
    seconds: float | None
    """Of all that is left for it, its cells included."""
    not_ranked: tuple[str, ...]
    """Why it will have no rank, as far as that is known; none: it may have one."""
    refused: str | None = None
    """What the mitigation will refuse."""
    cells: tuple[CellPlan, ...]


class Samples(StrictModel):
    """What is scored."""

    memorized: int
    controls: int
    seeds: int
    budgets: tuple[int, ...]
    utility_prompts: int


class Plan(StrictModel):
    """What a run will do."""

    suite: str
    split: str
    profile: ProfileName
    device: str
    dtype: str
    samples: Samples
    rows: tuple[RowPlan, ...]
    work: dict[str, Items]
    """By verb: fit, attack, generate, probe; and what sampling rules cost, `rule`."""
    total: Items
    shared: Items
    """What several cells have in common and is made once, counted for each but the first."""
    images: int
    """That are left to be drawn."""
    stored_images: int
    disk_bytes: int | None
    """That images, triggers and edits will take, about; None where nothing was measured."""
    peak_memory_bytes: int | None
    """Of a batch that is searched for, or drawn; training takes more."""
    seconds: float | None
    """Of all whose time is known; None where nothing was measured."""
    seconds_exact: bool
    """False where some work is a bound, or is not known."""
    workers: int = 1
    """That share the work."""
    shared_seconds: float | None = None
    """From start to end where they do: their even share of the time, or the longest that one cell
    takes with its mitigation, whichever is more. None for one worker."""


def plan_of(
    this: Run, *, measure: bool = True, clock: Clock = time.perf_counter, workers: int = 1
) -> tuple[Plan, Speeds | None, list[Step]]:
    """What `this` will do, the speeds of this machine, and the steps; the store is looked at only.

    Where no speeds are kept they are measured by `clock`, and kept, if `measure`.

    Raises:
        DoribError: the disk is full or not writable.
    """
    context = this.context
    with _looked_at(context):
        speeds = measured_speeds(this, clock) if measure else kept_speeds(this)
        walked = walk(this, scale_of(context, speeds))
    return _plan(this, walked, speeds, workers), speeds, walked.steps


def _plan(this: Run, walked: Walk, speeds: Speeds | None, workers: int) -> Plan:
    context = this.context
    seconds = [speeds.seconds(step) for step in walked.steps] if speeds else []
    total = _items(walked.steps)
    profile = context.profile
    drawn = [step for step in walked.steps if step.verb == "generate"]
    return Plan(
        suite=context.suite.name,
        split=context.settings.split,
        profile=this.profile_name,
        device=str(context.device),
        dtype=context.dtype,
        samples=Samples(
            memorized=len(context.memorized),
            controls=len(context.controls),
            seeds=profile.seeds,
            budgets=profile.budgets,
            utility_prompts=len(context.utility_prompts) if this.needs_utility else 0,
        ),
        rows=tuple(_row(this, walked, method.label, speeds) for method in this.mitigations),
        work=_by_verb(walked.steps),
        total=total,
        shared=Items(items=walked.shared.items, exact=walked.shared.exact),
        images=sum(step.images for step in drawn),
        stored_images=sum(cell.stored for cell in walked.cells),
        disk_bytes=_disk_bytes(walked.steps, speeds) if speeds else None,
        peak_memory_bytes=speeds.peak_bytes if speeds else None,
        seconds=_total_seconds(walked.steps, speeds) if speeds else None,
        seconds_exact=total.exact and not total.unknown and None not in seconds,
        workers=workers,
        shared_seconds=_shared_seconds(walked.steps, speeds, workers) if speeds else None,
    )


@contextmanager
def _looked_at(context: RunContext) -> Iterator[None]:
    store = context.store
    context.store = LookedAtStore(store.root)
    try:
        yield
    finally:
        context.store = store


def _row(this: Run, walked: Walk, label: str, speeds: Speeds | None) -> RowPlan:
    steps = [step for step in walked.steps if step.mitigation == label]
    cells = [cell for cell in walked.cells if cell.mitigation == label]
    refused = walked.refused.get(label)
    reasons = list(reasons_expected(this, label))
    reasons += [refused] if refused else []
    reasons += [cell.refused for cell in cells if cell.refused]
    return RowPlan(
        mitigation=label,
        fit=_items([step for step in steps if step.verb == "mitigate"]),
        seconds=_seconds(steps, speeds),
        not_ranked=tuple(dict.fromkeys(reasons)),
        refused=refused,
        cells=tuple(
            _cell(cell, [step for step in steps if step.attack == cell.attack], speeds)
            for cell in cells
        ),
    )


def _cell(cell: PlannedCell, steps: Sequence[Step], speeds: Speeds | None) -> CellPlan:
    return CellPlan(
        attack=cell.attack,
        images=cell.images,
        stored=cell.stored,
        work=_items(steps),
        seconds=_seconds(steps, speeds),
        same_as=cell.same_as,
        refused=cell.refused,
    )


def _items(steps: Sequence[Step]) -> Items:
    known = sum((step.work for step in steps if step.work is not None), PlannedWork())
    unknown = dict.fromkeys(step.subject for step in steps if step.work is None)
    return Items(items=known.items, exact=known.exact, unknown=tuple(unknown))


def _by_verb(steps: Sequence[Step]) -> dict[str, Items]:
    found = {
        name: _items([step for step in steps if step.verb == verb])
        for verb, name in OF_VERB.items()
    }
    rules = [
        replace(step, work=step.rule) for step in steps if step.rule is None or step.rule.items
    ]
    return found | {RULE: _items(rules)}


def _seconds(steps: Sequence[Step], speeds: Speeds | None) -> float | None:
    """None where one of them is not known."""
    if speeds is None:
        return None
    each = [speeds.seconds(step) for step in steps]
    return None if None in each else sum(one for one in each if one is not None)


def _total_seconds(steps: Sequence[Step], speeds: Speeds) -> float:
    each = [speeds.seconds(step) for step in steps]
    at_work = any(step.verb != "measure" for step in steps)
    return sum(one for one in each if one is not None) + (speeds.load if at_work else 0.0)


def _shared_seconds(steps: Sequence[Step], speeds: Speeds, workers: int) -> float | None:
    if workers == 1:
        return None
    fits: defaultdict[str, float] = defaultdict(float)
    cells: defaultdict[tuple[str, str | None], float] = defaultdict(float)
    for step in steps:
        seconds = speeds.seconds(step) or 0.0
        if step.verb == "mitigate":
            fits[step.mitigation] += seconds
        else:
            cells[step.mitigation, step.attack] += seconds
    chains = [fits[mitigation] + seconds for (mitigation, _), seconds in cells.items()]
    return max(_total_seconds(steps, speeds) / workers, *chains, *fits.values(), 0.0)


def _disk_bytes(steps: Sequence[Step], speeds: Speeds) -> int:
    images = sum(step.images for step in steps if step.verb == "generate")
    triggers = sum(step.triggers for step in steps)
    # An edit may replace all weights; that of the unmitigated model holds none.
    edits = sum(step.verb == "mitigate" and step.mitigation != NONE for step in steps)
    return images * speeds.image_bytes + triggers * speeds.trigger_bytes + edits * speeds.unet_bytes
