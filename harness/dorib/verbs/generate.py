"""generate: Trigger -> Images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from dorib.contracts.ledger import Ledger
from dorib.contracts.methods import Place
from dorib.contracts.triggers import ImageStart, Trigger
from dorib.host.calls import PluginError, of_plugin
from dorib.host.configure import Configured
from dorib.store.batches import in_turn, planned_batches
from dorib.store.code import closure_digest
from dorib.store.files import write_json
from dorib.store.store import Shelf
from dorib.suites.images import read_image, write_image
from dorib.verbs.acting import EVERYWHERE, Acting, acting, asked_places
from dorib.verbs.asking import asked_with
from dorib.verbs.attack import Attacked
from dorib.verbs.context import RunContext, Subject
from dorib.verbs.guarding import guarded
from dorib.verbs.memory import record_halving, within_memory
from dorib.verbs.mitigate import Mitigated

TriggersOf: TypeAlias = "Callable[[Sequence[Request]], Sequence[Trigger]]"
RULE_WORK = "rule_work.json"
"""In a batch's folder: what sampling rules cost, by image, in U-Net items."""


@dataclass(frozen=True)
class Request:
    """One image to make: whom it asks for, at which budget's trigger, from which seed."""

    subject: Subject
    budget: int
    seed: int

    @property
    def item(self) -> str:
        """The image's name in the store."""
        return f"{self.subject.tag}.b{self.budget}.s{self.seed}"


@dataclass(frozen=True)
class Generated:
    """The images of one cell."""

    shelf: Shelf
    failures: dict[str, str] = field(default_factory=dict)
    """By item: the error that came in place of the image."""

    def path(self, request: Request) -> Path:
        """The stored PNG."""
        return self.shelf[request.item] / f"{request.item}.png"

    def digest(self, request: Request) -> str:
        """sha256 of the stored PNG, as it was checked."""
        return self.shelf.files(request.item)[f"{request.item}.png"]

    def rule_work(self, requests: Iterable[Request]) -> dict[str, int]:
        """By item, what sampling rules cost for it, in U-Net items; left out where nothing."""
        folders = {self.shelf[request.item]: None for request in requests}
        files = [folder / RULE_WORK for folder in folders if (folder / RULE_WORK).exists()]
        return {item: work for file in files for item, work in json.loads(file.read_text()).items()}

    def images(self, requests: Sequence[Request]) -> Tensor:
        """`[requests, 3, height, width]`, float32 in [0, 1], read back from the PNG."""
        return torch.stack([read_image(self.path(request)) for request in requests])


def generate_attacked(
    context: RunContext, mitigated: Mitigated, attacked: Attacked, subjects: Sequence[Subject]
) -> Generated:
    """Images of `subjects` from the triggers of an attack, at every budget and evaluation seed."""
    requests = [
        Request(subject, budget, seed)
        for subject in subjects
        for budget in attacked.budgets
        for seed in context.evaluation_seeds
    ]

    def triggers(batch: Sequence[Request]) -> list[Trigger]:
        return [attacked.trigger(request.subject, request.budget) for request in batch]

    label = f"{mitigated.method.label} x {attacked.method.label}"
    felt = acting(context, mitigated, places_asked(mitigated, attacked, subjects))
    shelf = images_shelf(context, attacked.asked_key(subjects), felt.key)
    failures = {
        request.item: attacked.failures[request.subject.id]
        for request in requests
        if request.subject.id in attacked.failures
    }
    generated = Generated(shelf, failures)
    return _generate(context, felt, generated, requests, label, triggers)


def images_shelf(context: RunContext, triggers: str, edit: str) -> Shelf:
    """Where images lie that were drawn from triggers, under what `edit` names."""
    return context.store.shelf("images", {**_code(), "triggers": triggers, "edit": edit})


def utility_shelf(context: RunContext, edit: str) -> Shelf:
    """Where images of utility prompts lie."""
    return context.store.shelf("images", {**_code(), "utility": edit})


def places_asked(
    mitigated: Mitigated, attacked: Attacked, subjects: Sequence[Subject]
) -> frozenset[Place]:
    """Where a rule of the edit meets any of the triggers."""
    if not mitigated.outline.rules:
        return EVERYWHERE
    return asked_places(
        [
            attacked.trigger(subject, budget)
            for subject in subjects
            if subject.id not in attacked.failures
            for budget in attacked.budgets
        ]
    )


def generate_utility(
    context: RunContext, mitigated: Mitigated, prompts: Sequence[Subject]
) -> Generated:
    """One image of each of `prompts` under an edit."""
    requests = [Request(subject, 0, 0) for subject in prompts]

    def triggers(batch: Sequence[Request]) -> list[Trigger]:
        return [Trigger(one.subject.id, 0, prompt=one.subject.caption) for one in batch]

    felt = acting(context, mitigated, EVERYWHERE)
    shelf = utility_shelf(context, felt.key)
    if mitigated.failure:
        return Generated(shelf, {request.item: mitigated.failure for request in requests})
    label = f"{mitigated.method.label}, utility prompts"
    return _generate(context, felt, Generated(shelf), requests, label, triggers)


def _code() -> dict[str, str]:
    return {"code": closure_digest(__name__)}


def _generate(
    context: RunContext,
    felt: Acting,
    generated: Generated,
    requests: Sequence[Request],
    label: str,
    triggers: TriggersOf,
) -> Generated:
    shelf, failures = generated.shelf, generated.failures

    def is_missing(request: Request) -> bool:
        return request.item not in shelf and request.item not in failures

    batches = planned_batches(requests, context.batch_size, is_missing)
    if not batches:
        return generated
    with context.reporter.verb("generate", label, sum(map(len, batches))) as advance:
        turns = in_turn(shelf, batches, lambda request: request.item, is_missing, advance)
        for claim, batch in turns:
            with claim:
                _make(context, felt, generated, batch, triggers)
            advance(len(batch))
    return generated


def _make(
    context: RunContext,
    felt: Acting,
    generated: Generated,
    batch: Sequence[Request],
    triggers: TriggersOf,
) -> None:
    rule_work: dict[str, int] = {}
    sample = partial(_sample, context, felt, triggers=triggers, rule_work=rule_work)
    try:
        parts = list(within_memory(sample, batch, context.reporter.note))
    except PluginError as error:
        # Of a rule that raises, say: an error record, never a missing one.
        generated.failures.update({request.item: str(error) for request in batch})
        context.reporter.failure(f"{len(batch)} images not generated: {error}", error)
        return
    images = [image for _, part in parts for image in part]
    made = _finite(context, generated, zip(batch, images, strict=True))
    if not made:
        return
    with generated.shelf.batch([request.item for request, _ in made]) as folder:
        for request, image in made:
            write_image(image, folder / f"{request.item}.png")
        if rule_work:
            write_json(folder / RULE_WORK, rule_work)
        record_halving(folder, len(batch), min(len(part) for part, _ in parts))


def _finite(
    context: RunContext, generated: Generated, made: Iterable[tuple[Request, Tensor]]
) -> list[tuple[Request, Tensor]]:
    """Those that are images; the others become error records, never black pictures."""
    finite = []
    failed = []
    for request, image in made:
        if bool(torch.isfinite(image).all()):
            finite.append((request, image))
        else:
            failed.append(request.item)
    if failed:
        reason = "the model made an image that is not finite"
        generated.failures.update(dict.fromkeys(failed, reason))
        context.reporter.note(f"generation failed for {len(failed)} images: {reason}")
    return finite


def _sample(
    context: RunContext,
    felt: Acting,
    batch: Sequence[Request],
    triggers: TriggersOf,
    rule_work: dict[str, int],
) -> Tensor:
    model = context.model
    edit, rows = felt.edit([context.memorized_behind(request.subject) for request in batch])
    found = triggers(batch)
    images: dict[int, Tensor] = {}
    # Of all edits a rule alone brings code of a plugin's.
    around = guarded if edit.rules else _failing_as
    with around(context, felt.method), model.edited(edit, rows):
        for alike in sampled_together(found):
            items = torch.tensor(alike)
            ledger = Ledger()
            with model.counting(ledger):
                made = _from_triggers(
                    context, [batch[item] for item in alike], [found[item] for item in alike], items
                )
            images |= dict(zip(alike, made, strict=True))
            rule_work.update(
                {batch[i].item: ledger.rule_work_of(i) for i in alike if ledger.rule_work_of(i)}
            )
    return torch.stack([images[place] for place in range(len(batch))])


def _failing_as(context: RunContext, method: Configured) -> AbstractContextManager[None]:
    return of_plugin(method)


def sampled_together(triggers: Sequence[Trigger]) -> list[list[int]]:
    """Places of `triggers` that one call of the model can sample: the same first step, no edit of
    their own."""
    groups: dict[object, list[int]] = {}
    for place, trigger in enumerate(triggers):
        key: object = trigger.start.strength if trigger.start is not None else None
        if trigger.edit is not None:
            key = place, "edit"
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def _from_triggers(
    context: RunContext, requests: Sequence[Request], triggers: Sequence[Trigger], samples: Tensor
) -> Tensor:
    model, first = context.model, triggers[0]
    seeds, drawing = context.seeds.child("evaluation"), context.seeds.child("rule").sealed()
    generators = [seeds.generator(one.subject.id, one.seed) for one in requests]
    drawn = [drawing.generator(one.subject.id, one.seed) for one in requests]
    start = None
    if first.start is not None:
        latents = [trigger.start.latents for trigger in triggers if trigger.start is not None]
        start = ImageStart(torch.stack(latents), first.start.strength)
    with nullcontext() if first.edit is None else model.edited(first.edit):
        # Under the edit, whose rule may act on the prompts among the triggers.
        embeddings, lengths = asked_with(model, triggers, drawn)
        return model.sample(embeddings, generators, samples, lengths, start)
