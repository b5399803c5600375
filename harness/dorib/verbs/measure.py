"""measure: Images -> Record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby

from dorib.contracts.methods import Measured
from dorib.contracts.views import Generation
from dorib.host.admission import AdmissionError, admit_measured
from dorib.host.calls import PluginError
from dorib.host.configure import Configured
from dorib.host.told import stack_of
from dorib.ranking.records import Record, read_records, write_records
from dorib.reporting import Advance
from dorib.store.batches import in_turn, planned_batches
from dorib.store.code import closure_digest
from dorib.store.fingerprint import digest
from dorib.store.store import Shelf
from dorib.suites.view import originals_digest
from dorib.verbs.context import RunContext, Subject
from dorib.verbs.guarding import guarded
from dorib.verbs.judging import Cell, Judged


def measure(
    context: RunContext, metric: Configured, cell: Cell, subjects: Sequence[Subject]
) -> list[Record]:
    """The records of one metric for one cell, computed or found stored, errors among them.

    Errors are not stored, so that the next run tries again.
    """
    return list(_Measurement(context, metric, cell, subjects).records())


def unmeasured(
    context: RunContext, metric: Configured, cell: Cell, subjects: Sequence[Subject]
) -> int:
    """How many of `subjects`, each at every budget, a metric has not looked at yet."""
    return _Measurement(context, metric, cell, subjects).missing()


class _Measurement:
    """One metric at work on one cell."""

    def __init__(
        self, context: RunContext, metric: Configured, cell: Cell, subjects: Sequence[Subject]
    ) -> None:
        self._context = context
        self._configured = metric
        self._metric = metric.metric
        self._cell = cell
        self._everything = [Judged(subject, b) for subject in subjects for b in cell.budgets]
        twins = "twin" in self._metric.needs
        self._generation = partial(cell.generation, context, with_twins=twins)
        failures = {judged: cell.failure(judged, with_twins=twins) for judged in self._everything}
        self._errors = {judged: reason for judged, reason in failures.items() if reason}
        stack = stack_of(metric)
        self._stack = digest(stack)
        self._shelf: Shelf = context.store.shelf(
            "records",
            {
                "code": closure_digest(__name__),
                "images": cell.generated.shelf.key,
                "twins": cell.twins.shelf.key if cell.twins and twins else None,
                "metric": metric.fingerprint,
                "stack": stack,
                "seeds": cell.seeds,
                "mitigation": cell.mitigation,
                "attack": cell.attack,
                # Left out of the others, whose values do not depend on them.
                **self._originals(),
            },
        )

    def _originals(self) -> dict[str, str]:
        if "originals" not in self._metric.needs:
            return {}
        return {"originals": originals_digest(self._context.suite)}

    def missing(self) -> int:
        """How many subjects at a budget have no records yet, for levels below a cell's."""
        return sum(judged.item not in self._shelf for judged in self._everything)

    def records(self) -> Iterator[Record]:
        """Those of each image and sample, then those of the cell as a whole."""
        levels = {quantity.level for quantity in self._metric.quantities.values()}
        if levels != {"cell"}:
            yield from self._of_each()
        if "cell" in levels:
            # The budgets of one role; a role's subjects stand together.
            for role, subjects in groupby(self._everything, lambda judged: judged.subject.role):
                of_role = list(subjects)
                for budget in self._cell.budgets:
                    group = [judged for judged in of_role if judged.budget == budget]
                    yield from self._of_all(role, group)

    def _of_each(self) -> Iterator[Record]:
        errors = dict(self._errors)
        size = max(1, self._context.batch_size // len(self._cell.seeds))

        def is_missing(judged: Judged) -> bool:
            return judged not in errors and judged.item not in self._shelf

        batches = planned_batches(self._everything, size, is_missing)
        if batches:
            label = f"{self._configured.label}: {self._cell.label}"
            total = sum(map(len, batches))
            with self._context.reporter.verb("measure", label, total) as advance:
                turns = in_turn(self._shelf, batches, lambda j: j.item, is_missing, advance)
                for claim, batch in turns:
                    with claim:
                        failure = self._store(self._measured(batch))
                    if failure:
                        errors |= dict.fromkeys(batch, failure)
                    advance(len(batch))
        for judged in self._everything:
            if judged in errors:
                yield self._record(judged, judged.subject, error=errors[judged])
            else:
                yield from self._read(judged.item)

    def _measured(self, batch: Sequence[Judged]) -> Iterator[tuple[str, list[Record]]]:
        generations = [self._generation(judged) for judged in batch]
        measured = _listed(self._metric.measure(generations), len(generations))
        for judged, generation, values in zip(batch, generations, measured, strict=True):
            admitted = [admit_measured(v, generation, self._metric.quantities) for v in values]
            _refuse_twice(admitted)
            yield (
                judged.item,
                [self._record(judged, judged.subject, measured=value) for value in admitted],
            )

    def _of_all(self, role: str, group: Sequence[Judged]) -> Iterator[Record]:
        failed = [self._errors[judged] for judged in group if judged in self._errors]
        if failed:
            reason = f"{len(failed)} of {len(group)} lack an image: {failed[0]}"
            yield self._record(group[0], None, error=reason)
            return
        item = f"{role}-{digest([judged.item for judged in group])[:16]}.b{group[0].budget}"

        def is_missing(judged: Judged) -> bool:
            return item not in self._shelf

        if item not in self._shelf:
            label = f"{self._configured.label}: {self._cell.label}, {role} together"
            with self._context.reporter.verb("measure", label, len(group)) as advance:
                for claim, _ in in_turn(
                    self._shelf, [group], lambda j: j.item, is_missing, advance
                ):
                    with claim:
                        failure = self._store(self._measured_together(item, group, advance))
                    if failure:
                        yield self._record(group[0], None, error=failure)
                        return
        yield from self._read(item)

    def _measured_together(
        self, item: str, group: Sequence[Judged], advance: Advance
    ) -> Iterator[tuple[str, list[Record]]]:
        def read() -> Iterator[Generation]:
            for judged in group:
                yield self._generation(judged)
                advance(1)

        values = self._metric.measure_cell(read())
        admitted = [admit_measured(value, None, self._metric.quantities) for value in values]
        _refuse_twice(admitted)
        yield item, [self._record(group[0], None, measured=value) for value in admitted]

    def _read(self, item: str) -> Iterator[Record]:
        return read_records(self._shelf[item] / _file(item))

    def _store(self, records: Iterable[tuple[str, list[Record]]]) -> str | None:
        """Store a batch's records, by item; gives the reason where the metric failed."""
        try:
            with guarded(self._context, self._configured):
                measured = dict(records)
        except PluginError as error:
            self._context.reporter.failure(str(error), error)
            return str(error)
        with self._shelf.batch(list(measured)) as folder:
            for item, of_item in measured.items():
                write_records(folder / _file(item), of_item)
        return None

    def _record(
        self,
        judged: Judged,
        subject: Subject | None,
        *,
        measured: Measured | None = None,
        error: str | None = None,
    ) -> Record:
        """`subject` None where the value speaks of all subjects of the role."""
        name = measured.metric if measured else self._configured.name
        quantity = self._metric.quantities.get(name) if measured else None
        return Record(
            mitigation=self._cell.mitigation,
            attack=self._cell.attack,
            budget=judged.budget,
            role=judged.subject.role,
            sample=subject.id if subject else None,
            cluster=subject.cluster if subject else None,
            seed=measured.seed if measured else None,
            metric=name,
            value=measured.value if measured else None,
            error=error,
            unit=quantity.unit if quantity else None,
            direction=quantity.direction if quantity else None,
            level=quantity.level if quantity else None,
            judge=self._configured.label,
            stack=self._stack,
        )


def _listed(handed: object, count: int) -> list[Sequence[Measured]]:
    if not isinstance(handed, Iterable):
        raise AdmissionError(
            f"measure returned a {type(handed).__name__}; give the values of each generation"
        )
    listed = list(handed)
    if len(listed) != count or not all(isinstance(one, list | tuple) for one in listed):
        raise AdmissionError(
            f"measure gave {len(listed)} results for {count} generations; give a list of Measured "
            "for each, in order"
        )
    return listed


def _refuse_twice(admitted: Sequence[Measured]) -> None:
    seen = Counter((value.metric, value.seed) for value in admitted)
    for (name, seed), times in seen.items():
        if times > 1:
            where = "" if seed is None else f" for seed {seed}"
            raise AdmissionError(f"measure gave {name} {times} times{where}; give it once")


def _file(item: str) -> str:
    """What the records of one item are called in their batch."""
    return f"{item}.jsonl"
