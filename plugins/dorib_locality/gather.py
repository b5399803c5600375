"""The triggers of each image from many starts, through the verbs of a run and from its store."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from dorib import (
    REPLICATES,
    Advance,
    Attacked,
    Configured,
    Embeddings,
    Reporter,
    Seeds,
    Session,
    Subject,
    Target,
    TargetModel,
    Trigger,
)


@runtime_checkable
class TellsItsStarts(Protocol):
    """An attack that can tell where its searches started."""

    def starting_points(
        self, model: TargetModel, targets: Sequence[Target], restarts: Sequence[int], seeds: Seeds
    ) -> Embeddings:
        """`prompt_embeds` `[targets, tokens, width]` of each target's search at each restart."""


@dataclass(frozen=True)
class FoundTrigger:
    """One trigger, and what it is worth."""

    subject: Subject
    start: int
    trigger: Trigger
    digest: str
    key: str
    """Of the shelf that holds it."""
    embedding: Tensor
    """`[tokens, width]`, float32, on the CPU."""
    starting_point: Tensor | None
    """Likewise; None where the attack does not tell."""
    replicates: bool
    """At least one of its evaluation images replicates the original."""

    @property
    def name(self) -> str:
        """Sample and start."""
        return f"{self.subject.id}, start {self.start}"


@dataclass(frozen=True)
class Gathered:
    """All triggers, image by image within each start, and what went wrong."""

    triggers: list[FoundTrigger]
    failures: dict[str, str]
    """By sample and start: the error that came in place of a trigger."""


def gather(
    session: Session,
    unmitigated: Configured,
    method: Configured,
    metric: Configured,
    starts: int,
) -> Gathered:
    """Search or find stored the triggers of every memorized sample from each start.

    Start i is the search of a run whose root seed is larger by i, and is judged with that run's
    evaluation seeds, so that it shares the store with such a run.
    """
    gathered = Gathered([], {})
    for start in range(starts):
        reporter = _Numbered(session.reporter, f"start {start + 1} of {starts}")
        replica = session.at_root_seed(session.settings.root_seed + start, reporter)
        subjects = replica.memorized
        mitigated = replica.mitigate(unmitigated, subjects)
        attacked = replica.attack(mitigated, method, subjects)
        attacked = replace(attacked, budgets=attacked.budgets[-1:])
        records = replica.judge(mitigated, attacked, metric, subjects)
        for record in records:
            if record.error is not None:
                gathered.failures[f"{record.sample}, start {start}"] = record.error
        hits = {r.sample for r in records if r.sample and r.metric == REPLICATES and r.value}
        found = [s for s in subjects if s.id not in attacked.failures]
        gathered.triggers.extend(_found(replica, method, attacked, found, hits, start))
    return gathered


def _found(
    session: Session,
    method: Configured,
    attacked: Attacked,
    subjects: Sequence[Subject],
    hits: set[str],
    start: int,
) -> list[FoundTrigger]:
    [budget] = attacked.budgets
    triggers = [attacked.trigger(subject, budget) for subject in subjects]
    points: list[Tensor | None] = [None] * len(subjects)
    if isinstance(method.attack, TellsItsStarts) and subjects:
        seeds = session.seeds.child("search", method.name).sealed()
        restarts = [trigger.restart for trigger in triggers]
        told = method.attack.starting_points(
            session.model, session.targets(subjects), restarts, seeds
        )
        points = list(told["prompt_embeds"].float().cpu())
    return [
        FoundTrigger(
            subject=subject,
            start=start,
            trigger=trigger,
            digest=attacked.digest(subject, budget),
            key=attacked.key,
            embedding=_embedding(session.model, trigger),
            starting_point=point,
            replicates=subject.id in hits,
        )
        for subject, trigger, point in zip(subjects, triggers, points, strict=True)
    ]


def _embedding(model: TargetModel, trigger: Trigger) -> Tensor:
    if trigger.prompt is not None:
        embedding = model.encode_prompt([trigger.prompt])["prompt_embeds"][0]
    else:
        embedding = trigger.embeddings["prompt_embeds"]
    return embedding.to("cpu", torch.float32)


class _Numbered:
    """Says of each verb which start it works on."""

    def __init__(self, reporter: Reporter, suffix: str) -> None:
        self._reporter = reporter
        self._suffix = suffix

    def verb(self, name: str, subject: str, total: int) -> AbstractContextManager[Advance]:
        """A verb starts."""
        return self._reporter.verb(name, f"{subject}, {self._suffix}", total)

    def note(self, text: str) -> None:
        """Pass a note on."""
        self._reporter.note(text)

    def failure(self, text: str, error: BaseException) -> None:
        """Pass a failure on."""
        self._reporter.failure(text, error)
