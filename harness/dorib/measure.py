"""measure: Images -> Record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dorib.attack import Attacked
from dorib.batches import planned_batches
from dorib.context import RunContext, Subject
from dorib.contracts import Generation, Measured
from dorib.errors import DoribError
from dorib.generate import Generated, Request
from dorib.methods import Configured
from dorib.mitigate import Mitigated
from dorib.records import Record, read_records, write_records
from dorib.store import Shelf

RECORDS = "records.jsonl"


@dataclass(frozen=True)
class Judged:
    """One subject at one budget: what one metric looks at together."""

    subject: Subject
    budget: int

    @property
    def item(self) -> str:
        """Its name in the store."""
        return f"{self.subject.tag}.b{self.budget}"


@dataclass(frozen=True)
class Cell:
    """What is measured: one mitigation under one attack, or on the utility prompts."""

    mitigated: Mitigated
    attacked: Attacked | None
    generated: Generated
    seeds: tuple[int, ...]
    twins: Generated | None = None

    @property
    def mitigation(self) -> str:
        """The mitigation's label."""
        return self.mitigated.method.label

    @property
    def attack(self) -> str | None:
        """The attack's label; None for utility prompts."""
        return self.attacked.method.label if self.attacked else None

    @property
    def label(self) -> str:
        """The cell in words."""
        return f"{self.mitigation} x {self.attack or 'utility prompts'}"

    def requests(self, judged: Judged) -> list[Request]:
        """The images that are looked at together."""
        return [Request(judged.subject, judged.budget, seed) for seed in self.seeds]


def measure(
    context: RunContext, metric: Configured, cell: Cell, subjects: Sequence[Subject]
) -> list[Record]:
    """The records of one metric for one cell, computed or found stored, errors among them.

    Errors are not stored, so that the next run tries again.
    """
    budgets = cell.attacked.budgets if cell.attacked else (0,)
    everything = [Judged(subject, budget) for subject in subjects for budget in budgets]
    errors = {judged: reason for judged in everything if (reason := _failure(cell, judged))}
    wanted = [judged for judged in everything if judged not in errors]
    shelf = context.store.shelf("records", _key(metric, cell))
    size = max(1, context.batch_size // len(cell.seeds))
    batches = planned_batches(wanted, size, lambda judged: judged.item not in shelf)
    if batches:
        label = f"{metric.label}: {cell.label}"
        with context.reporter.verb("measure", label, sum(map(len, batches))) as advance:
            for batch in batches:
                failure = _measure_batch(context, metric, cell, shelf, batch)
                if failure:
                    errors |= dict.fromkeys(batch, failure)
                    context.reporter.note(f"{metric.label} failed: {failure}")
                advance(len(batch))
    found: dict[str, list[Record]] = {}
    for folder in dict.fromkeys(shelf[judged.item] for judged in wanted if judged.item in shelf):
        for record in read_records(folder / RECORDS):
            found.setdefault(f"{record.sample}.b{record.budget}", []).append(record)
    records: list[Record] = []
    for judged in everything:
        if judged in errors:
            records.append(_record(cell, judged, metric.name, error=errors[judged]))
        else:
            records += found[f"{judged.subject.id}.b{judged.budget}"]
    return records


def _measure_batch(
    context: RunContext, metric: Configured, cell: Cell, shelf: Shelf, batch: Sequence[Judged]
) -> str | None:
    """Store the batch's records; gives the reason where the metric failed."""
    try:
        generations = [_generation(context, cell, judged) for judged in batch]
        measured = [list(values) for values in metric.metric.measure(generations)]
        records = list(_records(cell, batch, measured))
    except DoribError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises becomes an error record
        return f"{type(error).__name__}: {error}"
    with shelf.batch([judged.item for judged in batch]) as folder:
        write_records(folder / RECORDS, records)
    return None


def _generation(context: RunContext, cell: Cell, judged: Judged) -> Generation:
    requests = cell.requests(judged)
    twins = None
    if cell.twins is not None:
        twins = cell.twins.images([Request(judged.subject, 0, r.seed) for r in requests])
    return Generation(
        sample=judged.subject.id,
        caption=judged.subject.caption,
        seeds=cell.seeds,
        images=cell.generated.images(requests),
        originals=context.originals(judged.subject),
        twins=twins,
        other_caption=judged.subject.other_caption,
    )


def _records(
    cell: Cell, batch: Sequence[Judged], measured: Sequence[Iterable[Measured]]
) -> Iterable[Record]:
    for judged, values in zip(batch, measured, strict=True):
        for value in values:
            yield _record(cell, judged, value.metric, seed=value.seed, value=value.value)


def _record(
    cell: Cell,
    judged: Judged,
    metric: str,
    *,
    seed: int | None = None,
    value: float | None = None,
    error: str | None = None,
) -> Record:
    subject = judged.subject
    return Record(
        mitigation=cell.mitigation,
        attack=cell.attack,
        budget=judged.budget,
        role=subject.role,
        sample=subject.id,
        cluster=subject.cluster,
        seed=seed,
        metric=metric,
        value=value,
        error=error,
    )


def _failure(cell: Cell, judged: Judged) -> str | None:
    if cell.attacked and judged.subject.id in cell.attacked.failures:
        return cell.attacked.failures[judged.subject.id]
    failures = [cell.generated.failures.get(request.item) for request in cell.requests(judged)]
    return next((failure for failure in failures if failure), None)


def _key(metric: Configured, cell: Cell) -> dict[str, object]:
    return {
        "images": cell.generated.shelf.key,
        "twins": cell.twins.shelf.key if cell.twins else None,
        "metric": metric.fingerprint,
        "stack": metric.metric.stack(),
        "seeds": cell.seeds,
        "mitigation": cell.mitigation,
        "attack": cell.attack,
    }
