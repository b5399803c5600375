"""Replaying rows: published edits and triggers put in a store, and a run's verbs on top of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from dorib.config import RunConfig
from dorib.contracts.edit_files import load_edit
from dorib.contracts.specs import MethodSpec
from dorib.contracts.triggers import load_trigger
from dorib.errors import DoribError
from dorib.host.admission import AdmissionError, admit_edit, admit_trigger, embedding_shapes
from dorib.host.calls import before_work, of_plugin
from dorib.host.configure import NONE, ORACLE, Configured, configure, configure_all
from dorib.ranking.entries import Entry
from dorib.ranking.facts import CellFacts
from dorib.ranking.rank import rank
from dorib.ranking.records import Record
from dorib.reading import Malformed, parse_json
from dorib.replay.lot import Lot, records_as_published
from dorib.replay.stated import stated_attack, stated_mitigation
from dorib.report.export.galleries import copy_gallery, publishable
from dorib.report.gallery import Gallery, write_gallery
from dorib.report.results import run_facts
from dorib.report.run import Run
from dorib.report.witnesses.places import (
    has_own_edit,
    has_own_triggers,
    utility_place,
    values_place,
)
from dorib.report.witnesses.reading import read_edit_witness, read_triggers_witness
from dorib.report.witnesses.values import read_values
from dorib.runner import Row, fit_row, judge_cell, judge_without_attack
from dorib.session import Session
from dorib.store.batches import ElsewhereError
from dorib.store.files import named_write_errors
from dorib.store.fingerprint import digest
from dorib.store.packs import Pack
from dorib.store.store import Shelf
from dorib.suites.attribution import attributions
from dorib.verbs.acting import acting
from dorib.verbs.attack import budgets_of, trigger_item, triggers_shelf
from dorib.verbs.context import Subject
from dorib.verbs.mitigate import FIT, GLOBAL, Mitigated, refuse_oracle, stored

Labels = tuple[str, str]
"""Of mitigation and attack."""

PATIENCE_SECONDS = 0.4
"""For so long a worker waits for what another is at, before it goes on with something else."""


@dataclass
class Replayed:
    """What came of a replay."""

    entries: dict[Labels, Entry] = field(default_factory=dict)
    records: dict[Labels, list[Record]] = field(default_factory=dict)
    utility: dict[str, list[Record]] = field(default_factory=dict)
    """Of the utility prompts, by the mitigation's label."""
    refused: dict[Labels, DoribError] = field(default_factory=dict)
    """Cells that could not be replayed, and why: their witnesses are missing or are not theirs."""
    drawn: frozenset[str] | None = None
    """Ids of the samples and utility prompts that were replayed; None: all."""
    model: str = ""
    """Digest of the target model, by the code that replayed."""


class Replay:
    """One session in which published rows are made again from their witnesses."""

    def __init__(
        self,
        session: Session,
        config: RunConfig,
        folder: Path,
        entries: Sequence[Entry],
        large: Path | None,
        lot: Lot | None = None,
    ) -> None:
        self._folder, self._large = folder, large
        self._entries = {(e.mitigation.label, e.attack.label): e for e in entries}
        self._cells: list[CellFacts] = []
        metrics = configure_all(session.registry, "metric", config.metric)
        probes = configure_all(session.registry, "probe", config.probe)
        for metric in metrics:
            with before_work(), of_plugin(metric):
                session.prepare(metric)
        mitigations = {e.mitigation.label: self._mitigation(session, e) for e in entries}
        # Which attack it is is known by cell: its triggers are part of it.
        self._run = Run(
            session,
            config.out,
            config.profile_name,
            list(mitigations.values()),
            [],
            metrics,
            probes,
        )
        if lot:
            prompts = session.utility_prompts if self._run.needs_utility else ()
            self._run.drawn = lot.drawn([*self._run.subjects, *prompts])
        model = digest(self._run.context.model_key)
        self.found = Replayed(drawn=self._run.drawn, model=model)

    @staticmethod
    def _mitigation(session: Session, entry: Entry) -> Configured:
        """Reference lines are dorib's own and made anew; of others the edit is published."""
        if entry.mitigation.name in (NONE, ORACLE):
            return configure(session.registry, "mitigation", MethodSpec(name=entry.mitigation.name))
        return stated_mitigation(entry)

    def _attack(self, entry: Entry) -> Configured:
        """Without an attack the suite's captions are asked with, whatever is published."""
        if entry.attack.name == NONE:
            return configure(self._run.context.registry, "attack", MethodSpec(name=NONE))
        return stated_attack(entry)

    def replay(self) -> Replayed:
        """Make every cell again, and rank them."""
        run, found = self._run, self.found
        for mitigation in run.mitigations:
            row = self._row(mitigation)
            if row is not None:
                for place in self._places(mitigation):
                    self._cell(row, place)
        ranked = rank(run_facts(run), self._cells, run.records)
        found.entries = {(e.mitigation.label, e.attack.label): e for e in ranked}
        return found

    def share(self, worker: int, workers: int) -> Iterator[None]:
        """Make what none of the other workers is at, beginning at rows of this one's own.

        What is made lies in the store, where `replay` finds it. Of what cannot be replayed nothing
        is said.

        Yields:
            Between any two cells, where it may be left.
        """
        run = self._run
        first, *others = run.mitigations
        begin = len(others) * worker // workers
        # All others are told against it, so it is waited for.
        row = self._row(first)
        if row is not None:
            self._cell(row, (first.label, NONE))
        run.context.store.patience = PATIENCE_SECONDS
        for mitigation in (*others[begin:], *others[:begin], first):
            row = None
            with suppress(ElsewhereError):
                row = self._row(mitigation)
            for place in self._places(mitigation):
                yield
                with suppress(ElsewhereError):
                    if row is not None:
                        self._cell(row, place)
        run.context.store.patience = None
        run.records.clear()
        self._cells.clear()
        self.found = Replayed(drawn=run.drawn, model=self.found.model)

    def _places(self, mitigation: Configured) -> list[Labels]:
        return [place for place in self._entries if place[0] == mitigation.label]

    def _row(self, mitigation: Configured) -> Row | None:
        """A row with its utility judged; None where it is refused."""
        run, found = self._run, self.found
        places = self._places(mitigation)
        first = self._entries[places[0]]
        try:
            if has_own_edit(first):
                self._place_edit(first, mitigation)
            row = fit_row(run, mitigation)
            _refuse_failed(first, row.mitigated)
            other_prompts = self._prompts_as_published(first)
            records = judge_without_attack(run, row)
        except DoribError as error:
            found.refused |= dict.fromkeys(places, error)
            return None
        of_utility = [record for record in records if record.role == "utility"]
        found.utility[mitigation.label] = [*of_utility, *other_prompts]
        run.records += other_prompts
        return row

    def _cell(self, row: Row, place: Labels) -> None:
        run, found = self._run, self.found
        entry = self._entries[place]
        method = self._attack(entry)
        try:
            if has_own_triggers(entry):
                self._place_triggers(entry, row.mitigated, method)
            others = self._samples_as_published(entry, method)
        except DoribError as error:
            found.refused[place] = error
            return
        _, facts, records = judge_cell(run, row, method)
        found.records[place] = [*records, *others]
        run.records += others
        if found.drawn is not None:
            # Of all images, which are not all drawn here.
            work = entry.work
            facts = replace(facts, judging_work=work.judging, rule_work=work.rule)
        self._cells.append(facts)

    def draw_pictures(self, to: Path) -> None:
        """Write the gallery of what was replayed, as it may be published, into a folder.

        Raises:
            DoribError: the suite's attributions are damaged, or the disk is full or not writable.
        """
        run = self._run
        with named_write_errors(to):
            path = write_gallery(run, run.made.keys())
            gallery = Gallery.model_validate_json(path.read_bytes())
            copy_gallery(run.out, publishable(gallery, attributions(run.context.suite)), to)

    def _samples_as_published(self, entry: Entry, method: Configured) -> list[Record]:
        """The records of the samples that are not replayed."""
        labels = (entry.mitigation.label, entry.attack.label)
        budgets = budgets_of(self._run.context, method)
        return self._as_published(labels, values_place(entry), self._run.subjects, budgets)

    def _prompts_as_published(self, entry: Entry) -> list[Record]:
        """The records of the utility prompts that are not replayed."""
        prompts = self._run.context.utility_prompts if self._run.needs_utility else ()
        labels = (entry.mitigation.label, None)
        return self._as_published(labels, utility_place(entry), prompts, [0])

    def _as_published(
        self,
        labels: tuple[str, str | None],
        place: PurePosixPath,
        subjects: Sequence[Subject],
        budgets: Sequence[int],
    ) -> list[Record]:
        drawn = self.found.drawn
        others = [s for s in subjects if drawn is not None and s.id not in drawn]
        if not others:
            return []
        values = read_values(self._folder / place)
        return list(records_as_published(labels, values, others, budgets))

    def _place_edit(self, entry: Entry, method: Configured) -> None:
        context = self._run.context
        pack = read_edit_witness(self._folder, entry, self._large)
        tags = {subject.tag: subject.id for subject in context.memorized_of_split}
        known = {GLOBAL} if entry.scope == "global" else set(tags)
        _refuse_unknown(entry, pack, known)

        def check(item: str, folder: Path) -> None:
            edit = load_edit(folder)
            samples = [] if entry.scope == "global" else [tags[item]]
            _refuse_work(folder)
            admit_edit(edit, context.model, entry.scope, samples)
            refuse_oracle(context, method, edit)

        _put(stored(context, method).shelf, pack, check, f"the edit of {entry.mitigation.label}")

    def _place_triggers(self, entry: Entry, mitigated: Mitigated, method: Configured) -> None:
        run, context = self._run, self._run.context
        pack = read_triggers_witness(self._folder, entry, self._large)
        budgets = budgets_of(context, method)
        items: dict[str, tuple[Subject, int]] = {
            trigger_item(subject, budget): (subject, budget)
            for subject in run.subjects
            for budget in budgets
        }
        _refuse_unknown(entry, pack, set(items))
        shapes = embedding_shapes(context.model)

        def check(item: str, folder: Path) -> None:
            subject, budget = items[item]
            trigger = load_trigger(folder)
            admit_trigger(trigger, context.model, shapes, [subject.id], [budget])
            if not isinstance(trigger.work, int) or trigger.work < 0:
                raise AdmissionError(f"the trigger for {subject.id} states no work")
            if entry.searches and trigger.work > budget:
                raise AdmissionError(
                    f"the trigger for {subject.id} took {trigger.work} U-Net items, and its "
                    f"budget is {budget}"
                )

        felt = acting(context, mitigated, method.attack.feels)
        shelf = triggers_shelf(context, method, felt.key, None)
        of = f"the triggers of {entry.mitigation.label} x {entry.attack.label}"
        _put(shelf, pack, check, of)


def _put(shelf: Shelf, pack: Pack, check: Callable[[str, Path], None], what: str) -> None:
    """Store a witness, once each of its items has been read back and admitted."""
    if not shelf.missing(pack.items):
        return
    with shelf.batch(pack.items) as folder:
        for item in pack.items:
            pack.unpack(item, folder)
            try:
                check(item, folder / item)
            except (AdmissionError, DoribError, Malformed, TypeError, ValueError) as error:
                raise DoribError(f"{what}: {error}") from error


def _refuse_unknown(entry: Entry, pack: Pack, known: set[str]) -> None:
    if strange := sorted(set(pack.items) - known):
        raise DoribError(
            f"{entry.mitigation.label} x {entry.attack.label}: its witness is for {strange[0]!r}, "
            f"which suite {entry.suite.name} does not have at these budgets"
        )


def _refuse_failed(entry: Entry, mitigated: Mitigated) -> None:
    if not entry.digests.edit:
        raise DoribError("the mitigation failed in its run, so there is nothing to replay")
    if mitigated.failure:
        raise DoribError(mitigated.failure)


def _refuse_work(folder: Path) -> None:
    """Refuse an edit that does not say what its fit cost."""
    content = parse_json((folder / FIT).read_text()) if (folder / FIT).is_file() else None
    work = content.get("work") if isinstance(content, dict) else None
    if isinstance(work, bool) or not isinstance(work, int | float) or not 0 <= work < math.inf:
        raise AdmissionError(f"{FIT} does not state the work of the fit")
