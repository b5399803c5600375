"""generate: Trigger -> Images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from dorib.contracts.edits import SamplingRule
from dorib.contracts.embeddings import Embeddings
from dorib.contracts.ledger import Ledger
from dorib.contracts.target_model import TargetModel
from dorib.contracts.triggers import Trigger
from dorib.host.calls import PluginError, of_plugin
from dorib.host.configure import Configured
from dorib.store.batches import planned_batches
from dorib.store.code import closure_digest
from dorib.store.store import Shelf
from dorib.suites.images import read_image, write_image
from dorib.verbs.attack import Attacked
from dorib.verbs.context import RunContext, Subject
from dorib.verbs.guarding import guarded
from dorib.verbs.memory import record_halving, within_memory
from dorib.verbs.mitigate import Mitigated

EmbeddingsOf: TypeAlias = "Callable[[Sequence[Request]], Embeddings]"


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

    def embeddings(batch: Sequence[Request]) -> Embeddings:
        triggers = [attacked.trigger(request.subject, request.budget) for request in batch]
        return _embeddings(context.model, triggers)

    label = f"{mitigated.method.label} x {attacked.method.label}"
    shelf = context.store.shelf("images", {**_code(), "triggers": attacked.key})
    failures = {
        request.item: attacked.failures[request.subject.id]
        for request in requests
        if request.subject.id in attacked.failures
    }
    generated = Generated(shelf, failures)
    return _generate(context, mitigated, generated, requests, label, embeddings)


def generate_utility(context: RunContext, mitigated: Mitigated) -> Generated:
    """One image of each utility prompt under an edit."""
    requests = [Request(subject, 0, 0) for subject in context.utility_prompts]

    def embeddings(batch: Sequence[Request]) -> Embeddings:
        return context.model.encode_request([request.subject.caption for request in batch])

    shelf = context.store.shelf("images", {**_code(), "utility": mitigated.key})
    if mitigated.failure:
        return Generated(shelf, {request.item: mitigated.failure for request in requests})
    label = f"{mitigated.method.label}, utility prompts"
    return _generate(context, mitigated, Generated(shelf), requests, label, embeddings)


def _code() -> dict[str, str]:
    return {"code": closure_digest(__name__)}


def _generate(
    context: RunContext,
    mitigated: Mitigated,
    generated: Generated,
    requests: Sequence[Request],
    label: str,
    embeddings: EmbeddingsOf,
) -> Generated:
    shelf, failures = generated.shelf, generated.failures
    batches = planned_batches(
        requests,
        context.batch_size,
        lambda request: request.item not in shelf and request.item not in failures,
    )
    if not batches:
        return generated
    with context.reporter.verb("generate", label, sum(map(len, batches))) as advance:
        for batch in batches:
            try:
                parts = list(
                    within_memory(
                        partial(_sample, context, mitigated, embeddings=embeddings),
                        batch,
                        context.reporter.note,
                    )
                )
                images = [image for _, part in parts for image in part]
            except PluginError as error:
                # Of a rule that raises, say: an error record, never a missing one.
                failures.update({request.item: str(error) for request in batch})
                context.reporter.failure(f"{len(batch)} images not generated: {error}", error)
            else:
                made = _finite(context, generated, zip(batch, images, strict=True))
                if made:
                    with shelf.batch([request.item for request, _ in made]) as folder:
                        for request, image in made:
                            write_image(image, folder / f"{request.item}.png")
                        record_halving(folder, len(batch), min(len(part) for part, _ in parts))
            advance(len(batch))
    return generated


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
    context: RunContext, mitigated: Mitigated, batch: Sequence[Request], embeddings: EmbeddingsOf
) -> Tensor:
    model = context.model
    edit, rows = mitigated.edit([context.memorized_behind(request.subject) for request in batch])
    seeds = context.seeds.child("evaluation")
    generators = [seeds.generator(request.subject.id, request.seed) for request in batch]
    indices = torch.arange(len(batch))
    # Of all edits a rule alone brings code of a plugin's.
    around = guarded if isinstance(edit.change, SamplingRule) else _failing_as
    with around(context, mitigated.method), model.edited(edit, rows), model.counting(Ledger()):
        # Under the edit, whose rule may act on the prompts among the triggers.
        return model.sample(embeddings(batch), generators, indices)


def _failing_as(context: RunContext, method: Configured) -> AbstractContextManager[None]:
    return of_plugin(method)


def _embeddings(model: TargetModel, triggers: Sequence[Trigger]) -> Embeddings:
    prompts = [trigger.prompt for trigger in triggers if trigger.prompt is not None]
    requests = model.encode_request(prompts) if prompts else {}
    encoded = iter(range(len(prompts)))
    found: list[Embeddings] = []
    for trigger in triggers:
        if trigger.prompt is None:
            found.append(trigger.embeddings)
        else:
            row = next(encoded)
            found.append({name: value[row] for name, value in requests.items()})
    return {name: torch.stack([f[name].to(model.device) for f in found]) for name in found[0]}
