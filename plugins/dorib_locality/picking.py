"""What a per-sample mitigation picks for each trigger: its own `fit`, on the trigger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from dorib import (
    Configured,
    DefenderView,
    DoribError,
    Edit,
    Ledger,
    Session,
    Shelf,
    Subject,
    load_edit,
    planned_batches,
    save_edit,
    single_edits,
)
from dorib_locality.gather import FoundTrigger

Noise = Literal["usual", "other"]
"""The randomness of a fit: the mitigation's own, or another drawing of it."""


@dataclass(frozen=True)
class Fitted:
    """Edits in the order of what they were fitted to; None where the mitigation failed."""

    edits: list[Edit | None]
    failures: dict[str, str]


def fit_triggers(
    session: Session, method: Configured, triggers: Sequence[FoundTrigger], noise: Noise
) -> Fitted:
    """The edit for each trigger, fitted or found stored.

    All triggers are fitted with the same randomness, so that picks differ through the trigger
    alone; with `noise` "other" through the randomness alone.
    """
    fitted = Fitted([], {})
    # One batch holds each sample once, as the rows of an edit are named by sample.
    for _, group in groupby(triggers, key=lambda found: found.start):
        of_start = list(group)
        shelf = session.store.shelf("edits", _key(session, method, of_start[0].key, noise))
        batches = _missing_batches(session, shelf, of_start)
        for batch in batches:
            try:
                _fit(session, method, shelf, batch, noise)
            except DoribError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises is reported
                reason = f"{type(error).__name__}: {error}"
                session.reporter.note(f"{method.label} failed on {len(batch)} triggers: {reason}")
                again = "" if noise == "usual" else ", other noise"
                fitted.failures.update(
                    {f"{method.label}: {found.name}{again}": reason for found in batch}
                )
        for found in of_start:
            item = _item(found)
            fitted.edits.append(load_edit(shelf[item] / item) if item in shelf else None)
    return fitted


def fit_prompts(session: Session, method: Configured, subjects: Sequence[Subject]) -> Fitted:
    """The edit for each sample's own caption: the very one that `dorib run` uses."""
    mitigated = session.mitigate(method, subjects)
    if mitigated.failure:
        reason = {f"{method.label}: captions": mitigated.failure}
        return Fitted([None] * len(subjects), reason)
    return Fitted([mitigated.edit([subject])[0] for subject in subjects], {})


def _missing_batches(
    session: Session, shelf: Shelf, triggers: Sequence[FoundTrigger]
) -> list[list[FoundTrigger]]:
    return planned_batches(triggers, session.batch_size, lambda found: _item(found) not in shelf)


def _fit(
    session: Session,
    method: Configured,
    shelf: Shelf,
    batch: Sequence[FoundTrigger],
    noise: Noise,
) -> None:
    targets = session.targets([found.subject for found in batch])
    asked = [
        replace(target, embeddings={"prompt_embeds": found.embedding})
        for target, found in zip(targets, batch, strict=True)
    ]
    general = session.suite.general_captions
    view = DefenderView(asked, general, general_pairs=session.general_pairs)
    branch = "fit" if noise == "usual" else "fit again"
    label = f"{method.label} on triggers of start {batch[0].start}"
    with session.reporter.verb("mitigate", label, 0) as advance:
        ledger = Ledger(on_work=advance)
        with session.model.counting(ledger):
            edit = method.mitigation.fit(
                session.model, view, session.seeds.child(branch, method.name).sealed(), ledger
            )
    parts = single_edits(edit)
    with shelf.batch([_item(found) for found in batch]) as folder:
        for found in batch:
            (folder / _item(found)).mkdir()
            save_edit(parts[found.subject.id], folder / _item(found))


def _item(found: FoundTrigger) -> str:
    return f"{found.subject.tag}.b{found.trigger.budget}"


def _key(session: Session, method: Configured, triggers: str, noise: Noise) -> dict[str, object]:
    return {
        "model": session.model_key,
        "mitigation": method.fingerprint,
        "triggers": triggers,
        "general": session.general_digest,
        "noise": noise,
    }
