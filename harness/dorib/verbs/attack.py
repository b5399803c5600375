"""attack: Edit -> Trigger."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from dorib.contracts.ledger import Ledger
from dorib.contracts.triggers import Trigger, load_trigger, own_copy, save_trigger
from dorib.contracts.views import Target
from dorib.host.admission import AdmissionError, admit_trigger, embedding_shapes
from dorib.host.calls import PluginError
from dorib.host.configure import Configured
from dorib.reporting import Advance
from dorib.store.batches import in_turn, planned_batches
from dorib.store.code import closure_digest
from dorib.store.fingerprint import digest
from dorib.store.store import Shelf
from dorib.verbs.acting import Acting, acting
from dorib.verbs.context import RunContext, Subject
from dorib.verbs.guarding import counted, guarded, refuse_strange_samples, tell_stray
from dorib.verbs.memory import record_halving, within_memory
from dorib.verbs.mitigate import Mitigated

ENDED_BEYOND = 2
"""A search is ended at so many times its largest budget."""


@dataclass(frozen=True)
class Attacked:
    """What one attack found against one mitigation: a trigger for each subject and budget."""

    method: Configured
    budgets: tuple[int, ...]
    shelf: Shelf
    failures: dict[str, str] = field(default_factory=dict)
    """By subject id: the error that came in place of its triggers."""
    replayed: Attacked | None = None
    """What the method replays: found by another attack on the unmitigated model."""

    @property
    def key(self) -> str:
        """What any result from these triggers depends on."""
        return self.shelf.key

    def asked_key(self, subjects: Sequence[Subject]) -> str:
        """Names the triggers of `subjects`: those of what was replayed, where that was handed on
        as it stood."""
        source = self.replayed
        found = [subject for subject in subjects if subject.id not in self.failures]
        if source and all(
            self.digest(subject, budget) == source.digest(subject, budget)
            for subject in found
            for budget in self.budgets
        ):
            return source.asked_key(found)
        return self.key

    def trigger(self, subject: Subject, budget: int) -> Trigger:
        """The stored trigger."""
        item = trigger_item(subject, budget)
        return load_trigger(self.shelf[item] / item)

    def digest(self, subject: Subject, budget: int) -> str:
        """Digest of the stored trigger's files."""
        item = trigger_item(subject, budget)
        return self.shelf.digest(item)


def attack(
    context: RunContext,
    mitigated: Mitigated,
    method: Configured,
    subjects: Sequence[Subject],
    replayed: Attacked | None = None,
) -> Attacked:
    """Search triggers for `subjects`, or find them stored.

    Of an attack's restarts the trigger of lowest search loss is kept, for each subject and
    budget. An exception in the attack becomes a failure of the batch's subjects. `replayed` is
    what an attack that replays another one is handed: a subject that failed there fails here.
    """
    budgets = budgets_of(context, method)
    felt = acting(context, mitigated, method.attack.feels)
    shelf = triggers_shelf(context, method, felt.key, replayed.key if replayed else None)
    attacked = Attacked(method, budgets, shelf, replayed=replayed)
    if replayed:
        attacked.failures.update(replayed.failures)
    if mitigated.failure:
        attacked.failures.update({subject.id: mitigated.failure for subject in subjects})

    def is_missing(subject: Subject) -> bool:
        return (
            subject.id not in attacked.failures
            and trigger_item(subject, budgets[-1]) not in attacked.shelf
        )

    batches = planned_batches(subjects, context.batch_size, is_missing)
    if batches:
        total = sum(len(batch) for batch in batches) * max(budgets)
        label = f"{mitigated.method.label} x {method.label}"
        with context.reporter.verb("attack", label, total) as advance:

            def found_elsewhere(count: int) -> None:
                advance(count * max(budgets))

            turns = in_turn(shelf, batches, lambda s: s.tag, is_missing, found_elsewhere)
            for claim, batch in turns:
                with claim:
                    _search(context, felt, attacked, batch, advance)
    return attacked


def budgets_of(context: RunContext, method: Configured) -> tuple[int, ...]:
    """Those at which there is a trigger."""
    return context.profile.budgets if method.attack.searches else (0,)


def triggers_shelf(
    context: RunContext, method: Configured, edit: str, replayed: str | None
) -> Shelf:
    """Where triggers lie that were searched under what `edit` names.

    `replayed` names the triggers that the attack is handed, where it replays any.
    """
    key: dict[str, object] = {
        "code": closure_digest(__name__),
        "edit": edit,
        "attack": method.fingerprint,
        "budgets": budgets_of(context, method),
        "general": digest(context.suite.general_captions),
        "replayed": replayed,
    }
    if method.attack.sees_others:
        key["others"] = [other.tag for other in context.samples_of_split]
    return context.store.shelf("triggers", key)


def trigger_item(subject: Subject, budget: int) -> str:
    """A trigger's name in the store."""
    return f"{subject.tag}.b{budget}"


def _search(
    context: RunContext,
    felt: Acting,
    attacked: Attacked,
    batch: Sequence[Subject],
    advance: Advance,
) -> None:
    def search(part: Sequence[Subject]) -> dict[tuple[str, int], Trigger]:
        return _triggers(context, felt, attacked, part, Ledger(on_work=advance))

    best: dict[tuple[str, int], Trigger] = {}
    smallest = len(batch)
    try:
        for part, found in within_memory(search, batch, context.reporter.note):
            smallest = min(smallest, len(part))
            best |= found
    except PluginError as error:
        attacked.failures.update({subject.id: str(error) for subject in batch})
        context.reporter.failure(f"{len(batch)} samples not attacked: {error}", error)
        return
    _commit(attacked, batch, best, smallest)


def _triggers(
    context: RunContext,
    felt: Acting,
    attacked: Attacked,
    batch: Sequence[Subject],
    ledger: Ledger,
) -> dict[tuple[str, int], Trigger]:
    """The best of each subject and budget, by sample id and budget."""
    method, model = attacked.method, context.model
    edit, rows = felt.edit([context.memorized_behind(subject) for subject in batch])
    seeds = context.seeds.child("search", method.name).sealed()
    budgets = attacked.budgets
    targets = {target.sample: target for target in _targets(context, attacked, batch)}
    best: dict[tuple[str, int], Trigger] = {}
    shapes = embedding_shapes(model)
    _end_beyond(ledger, ENDED_BEYOND * budgets[-1] * len(batch))
    with model.edited(edit, rows), guarded(context, method), counted(model, ledger) as own:
        found = method.attack.search(model, list(targets.values()), budgets, seeds, own)
        if not isinstance(found, Iterable):
            raise AdmissionError(
                f"search returned a {type(found).__name__}; yield triggers, or return a list"
            )
        seen: set[tuple[str, int, int]] = set()
        with closing(_to_the_end(found)) as triggers:
            for handed in triggers:
                trigger = admit_trigger(handed, model, shapes, list(targets), budgets)
                work = _work(method, ledger, targets[trigger.sample], trigger)
                trigger = replace(trigger, work=work)
                _refuse_twice(seen, trigger)
                _refuse_overspent(method, trigger)
                place = trigger.sample, trigger.budget
                if place not in best or _loss(trigger) < _loss(best[place]):
                    # The search may go on writing to the tensors that it yielded.
                    best[place] = own_copy(trigger)
        refuse_strange_samples(ledger, [target.index for target in targets.values()])
        tell_stray(context, method, ledger)
        _refuse_gaps(best, list(targets), budgets)
    return best


def _to_the_end(found: Iterable[Trigger]) -> Generator[Trigger]:
    """`found`, closed before anything else is looked at: a search may hold hooks until then."""
    try:
        yield from found
    finally:
        close = getattr(found, "close", None)
        if close is not None:
            close()


def _work(method: Configured, ledger: Ledger, target: Target, trigger: Trigger) -> int:
    """What the model counted up to this trigger, whatever the trigger claims.

    A replayed trigger has cost its source's work besides, which was counted in its time.
    """
    before = target.found[trigger.budget].work if method.attack.replays else 0
    return before + ledger.work_of(target.index)


def _refuse_twice(seen: set[tuple[str, int, int]], trigger: Trigger) -> None:
    """One an item: of several the host would keep the one that the search itself calls best."""
    item = trigger.sample, trigger.budget, trigger.restart
    if item in seen:
        raise AdmissionError(
            f"search yielded a second trigger for {trigger.sample} at budget {trigger.budget} and "
            f"restart {trigger.restart}; yield one for each, the best"
        )
    seen.add(item)


def _refuse_overspent(method: Configured, trigger: Trigger) -> None:
    if method.attack.searches and trigger.work > trigger.budget:
        raise AdmissionError(
            f"the trigger for {trigger.sample} came after {trigger.work} U-Net items, and its "
            f"budget is {trigger.budget}; yield it before more is spent"
        )


def _refuse_gaps(
    best: Mapping[tuple[str, int], Trigger], samples: Sequence[str], budgets: Sequence[int]
) -> None:
    for sample in samples:
        for budget in budgets:
            if (sample, budget) not in best:
                raise AdmissionError(
                    f"search yielded no trigger for {sample} at budget {budget}; yield one for "
                    "each target and budget"
                )


def _end_beyond(ledger: Ledger, limit: int) -> None:
    """Let `ledger` end the search once it has cost more than `limit` U-Net items."""
    tell = ledger.on_work

    def count(work: int) -> None:
        if tell is not None:
            tell(work)
        if limit and ledger.work > limit:
            raise AdmissionError(
                f"the search was ended after {ledger.work} U-Net items, {ENDED_BEYOND} times what "
                "its largest budget allows; stop at the budget"
            )

    ledger.on_work = count


def _targets(context: RunContext, attacked: Attacked, batch: Sequence[Subject]) -> list[Target]:
    targets = context.targets(batch, attacked.method.attack.knows)
    if attacked.method.attack.sees_others:
        targets = [
            replace(target, others=context.others(subject))
            for target, subject in zip(targets, batch, strict=True)
        ]
    source = attacked.replayed
    if source is None:
        return targets
    return [
        replace(
            target, found={budget: source.trigger(subject, budget) for budget in source.budgets}
        )
        for target, subject in zip(targets, batch, strict=True)
    ]


def _commit(
    attacked: Attacked,
    batch: Sequence[Subject],
    best: dict[tuple[str, int], Trigger],
    smallest: int,
) -> None:
    items = {trigger_item(s, b): best[s.id, b] for s in batch for b in attacked.budgets}
    with attacked.shelf.batch(list(items)) as folder:
        for item, trigger in items.items():
            (folder / item).mkdir()
            save_trigger(trigger, folder / item)
        record_halving(folder, len(batch), smallest)


def _loss(trigger: Trigger) -> float:
    """By which restarts are compared: one that is not finite wins against none."""
    loss = trigger.loss
    return loss if loss is not None and math.isfinite(loss) else math.inf
