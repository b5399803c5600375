"""probe: Edit -> Record, without an image in between."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Sized

from dorib.contracts.ledger import Ledger
from dorib.host.admission import AdmissionError
from dorib.host.calls import PluginError
from dorib.host.configure import Configured
from dorib.ranking.probes import SCORE, WORK, probe_quantity
from dorib.ranking.records import Record, read_records, write_records
from dorib.store.batches import in_turn, planned_batches
from dorib.store.code import closure_digest
from dorib.store.store import Shelf
from dorib.verbs.acting import EVERYWHERE, acting
from dorib.verbs.context import RunContext, Subject
from dorib.verbs.guarding import counted, guarded, refuse_strange_samples, tell_stray
from dorib.verbs.mitigate import Mitigated


def probe(
    context: RunContext, mitigated: Mitigated, method: Configured, subjects: Sequence[Subject]
) -> list[Record]:
    """A record of each of `subjects`' score and its work, computed or found stored.

    An exception in the probe becomes an error record of the batch's subjects; errors are not
    stored, so that the next run tries again.
    """
    shelf = probes_shelf(context, mitigated, method, acting(context, mitigated, EVERYWHERE).key)
    errors = {subject: mitigated.failure for subject in subjects if mitigated.failure}

    def is_missing(subject: Subject) -> bool:
        return subject not in errors and subject.tag not in shelf

    batches = planned_batches(subjects, context.batch_size, is_missing)
    if batches:
        label = f"{mitigated.method.label}: {method.label}"
        with context.reporter.verb("probe", label, sum(map(len, batches))) as advance:
            for claim, batch in in_turn(shelf, batches, lambda s: s.tag, is_missing, advance):
                with claim:
                    failure = _store(context, mitigated, method, shelf, batch)
                if failure:
                    errors |= dict.fromkeys(batch, failure)
                advance(len(batch))
    return list(_records(mitigated, method, shelf, subjects, errors))


def probes_shelf(context: RunContext, mitigated: Mitigated, method: Configured, edit: str) -> Shelf:
    """Where the scores of a probe lie, under what `edit` names."""
    key = {
        "code": closure_digest(__name__),
        "edit": edit,
        # Its name stands in the records.
        "mitigation": mitigated.method.label,
        "probe": method.fingerprint,
    }
    return context.store.shelf("probes", key)


def _records(
    mitigated: Mitigated,
    method: Configured,
    shelf: Shelf,
    subjects: Sequence[Subject],
    errors: dict[Subject, str],
) -> Iterator[Record]:
    for subject in subjects:
        if subject in errors:
            yield _record(mitigated, method, subject, SCORE, error=errors[subject])
        else:
            yield from read_records(shelf[subject.tag] / f"{subject.tag}.jsonl")


def _store(
    context: RunContext,
    mitigated: Mitigated,
    method: Configured,
    shelf: Shelf,
    batch: Sequence[Subject],
) -> str | None:
    """Score and store a batch; gives the reason where the probe failed."""
    model = context.model
    edit, rows = mitigated.edit([context.memorized_behind(subject) for subject in batch])
    seeds = context.seeds.child("probe", method.name).sealed()
    targets, ledger = context.targets(batch, method.probe.knows), Ledger()
    try:
        with model.edited(edit, rows), guarded(context, method), counted(model, ledger) as own:
            scores = _admitted(method.probe.score(model, targets, seeds, own), len(batch))
            refuse_strange_samples(ledger, [target.index for target in targets])
            tell_stray(context, method, ledger)
    except PluginError as error:
        context.reporter.failure(f"{len(batch)} samples not probed: {error}", error)
        return str(error)
    with shelf.batch([subject.tag for subject in batch]) as folder:
        for index, (subject, score) in enumerate(zip(batch, scores, strict=True)):
            work = float(ledger.work_of(index))
            write_records(
                folder / f"{subject.tag}.jsonl",
                [
                    _record(mitigated, method, subject, SCORE, value=score),
                    _record(mitigated, method, subject, WORK, value=work),
                ],
            )
    return None


def _admitted(handed: object, count: int) -> list[float]:
    if not isinstance(handed, Sequence) or isinstance(handed, str) or len(handed) != count:
        came = f"{len(handed)} values" if isinstance(handed, Sized) else type(handed).__name__
        raise AdmissionError(
            f"score returned {came} in a {type(handed).__name__}; give a list of {count} numbers, "
            "one for each target"
        )
    if any(isinstance(score, str | bytes) for score in handed):
        raise AdmissionError("score returned text in place of numbers; give floats")
    scores = [float(score) for score in handed]
    if not all(map(math.isfinite, scores)):
        raise AdmissionError("score returned a number that is not finite; look for what overflowed")
    return scores


def _record(
    mitigated: Mitigated,
    method: Configured,
    subject: Subject,
    metric: str,
    *,
    value: float | None = None,
    error: str | None = None,
) -> Record:
    return Record(
        mitigation=mitigated.method.label,
        attack=None,
        budget=0,
        role=subject.role,
        sample=subject.id,
        cluster=subject.cluster,
        seed=None,
        metric=probe_quantity(method.label, metric),
        value=value,
        error=error,
        judge=method.label,
    )
