"""A board in memory, in step with what is kept of it: what a new cell touches is ranked anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from dorib.errors import DoribError
from dorib.host.configure import NONE
from dorib.ranking.entries import Entry
from dorib.ranking.facts import RunFacts
from dorib.ranking.observations import Observations
from dorib.ranking.rank import rank_some
from dorib.ranking.records import Record, parse_records
from dorib.report.board.kept import KeptBoard, KeptCell, ListedCell, ListedRow
from dorib.report.board.older import reasons_older
from dorib.store.boards import BoardFolder

Labels = tuple[str, str]
"""Of mitigation and attack."""
Damaged = Callable[[DoribError], None]
"""Told of a part that cannot be used, whose row then leaves the board; or it raises."""


@dataclass
class _Loaded:
    cell: KeptCell
    entry: Entry | None = None


class GrowingBoard:
    """The cells that are kept, and the entries that follow from them."""

    def __init__(self, folder: BoardFolder, empty: KeptBoard, damaged: Damaged) -> None:
        self.folder = folder
        self.kept = empty
        self._damaged = damaged
        self._observations = Observations(())
        self._loaded: dict[Labels, _Loaded] = {}

    @property
    def cells(self) -> dict[Labels, KeptCell]:
        """All that are kept, in order."""
        return {place: self._loaded[place].cell for place in map(_labels, self.kept.cells)}

    @property
    def entries(self) -> list[Entry]:
        """One for each cell, in order."""
        found = (self._loaded[_labels(cell)].entry for cell in self.kept.cells)
        return [entry for entry in found if entry is not None]

    def take(self, kept: KeptBoard) -> None:
        """Have `kept` in place of what was there before, and rank what has changed by it.

        Raises:
            DoribError: as `damaged` does.
        """
        before, rows, cells = self.kept, set[str](), set[Labels]()
        for row in kept.rows:
            if row not in before.rows and not self._read_row(row):
                kept = _without(kept, row.mitigation, None)
        for row in kept.rows:
            if row not in before.rows:
                rows.add(row.mitigation)
        former = {_labels(cell): (cell.facts, cell.records) for cell in before.cells}
        for cell in kept.cells:
            place = _labels(cell)
            if former.get(place) != (cell.facts, cell.records):
                if self._read_cell(cell):
                    cells.add(place)
                else:
                    kept = _without(kept, *place)
        self.kept = kept = _comparable(kept)
        there = {_labels(cell) for cell in kept.cells}
        for place in set(self._loaded) - there:
            del self._loaded[place]
            self._observations.put(*place, ())
        if rows or kept.cells != before.cells:
            attacks_differ = _attacks(before) != _attacks(kept)
            self._rank(set(self._touched(rows, cells)), everything=attacks_differ)

    def _read_row(self, row: ListedRow) -> bool:
        return self._read(f"row.{row.slug}", row.records, row.mitigation, None)

    def _read_cell(self, cell: ListedCell) -> bool:
        name = f"cell.{cell.slug}"
        try:
            found = KeptCell.model_validate_json(self.folder.read(name, cell.facts, "json"))
        except (DoribError, ValueError) as error:
            self._damaged(error if isinstance(error, DoribError) else DoribError(str(error)))
            return False
        self._loaded[_labels(cell)] = _Loaded(found)
        return self._read(name, cell.records, *_labels(cell))

    def _read(self, part: str, sha256: str, mitigation: str, attack: str | None) -> bool:
        try:
            text = self.folder.read(part, sha256, "jsonl")
        except DoribError as error:
            self._damaged(error)
            return False
        where = str(self.folder.place(part, sha256, "jsonl"))
        self._observations.put(mitigation, attack, parse_records(text, where))
        return True

    def _touched(self, rows: Iterable[str], cells: Iterable[Labels]) -> Iterator[Labels]:
        """Every cell whose entry depends on one of these: on its mitigation's utility, on the
        reference lines under its attack, on what the mitigation shows without an attack."""
        changed, oracle = set(cells), self.kept.facts.oracle
        of_references = any(row in (NONE, oracle) for row in rows)
        for place in map(_labels, self.kept.cells):
            mitigation, attack = place
            if (
                place in changed
                or mitigation in rows
                or of_references
                or (mitigation, NONE) in changed
                or (NONE, NONE) in changed
                or (oracle is not None and (oracle, attack) in changed)
            ):
                yield place

    def _rank(self, touched: set[Labels], *, everything: bool) -> None:
        run, older = self._run(), reasons_older(self.kept, self.cells)
        facts = {p: cell.facts.cell(older.get(p)) for p, cell in self.cells.items()}
        if everything and not run.required_attacks:
            touched = set(facts)
        chosen = [
            facts[place]
            for place, loaded in self._loaded.items()
            if place in touched or loaded.entry is None or loaded.entry.older != older.get(place)
        ]
        for entry in rank_some(run, list(facts.values()), self._observations, chosen):
            self._loaded[entry.mitigation.label, entry.attack.label].entry = entry

    def _run(self) -> RunFacts:
        probes = {
            label: knows for cell in self.cells.values() for label, knows in cell.probes.items()
        }
        return replace(self.kept.facts, probes=probes)


def written(folder: BoardFolder, part: str, records: Sequence[Record]) -> str:
    """Write records as a part of the board; gives the sha256 of the file.

    Raises:
        OSError: the disk is full or not writable.
    """
    return folder.put(part, "".join(record.model_dump_json() + "\n" for record in records), "jsonl")


def _without(board: KeptBoard, mitigation: str, attack: str | None) -> KeptBoard:
    """Without one cell, or without a mitigation."""
    rows = tuple(r for r in board.rows if attack is not None or r.mitigation != mitigation)
    cells = tuple(
        c for c in board.cells if c.mitigation != mitigation or attack not in (None, c.attack)
    )
    return board.model_copy(update={"rows": rows, "cells": cells})


def _comparable(board: KeptBoard) -> KeptBoard:
    """Without the cells that nothing is left to be held against: damage took the unmitigated model
    without an attack, or under theirs."""
    references = {cell.attack for cell in board.cells if cell.mitigation == NONE}
    cells = tuple(c for c in board.cells if {NONE, c.attack} <= references)
    there = {cell.mitigation for cell in cells}
    rows = tuple(row for row in board.rows if row.mitigation in there)
    return board.model_copy(update={"rows": rows, "cells": cells})


def _labels(cell: ListedCell) -> Labels:
    return cell.mitigation, cell.attack


def _attacks(board: KeptBoard) -> list[str]:
    return list(dict.fromkeys(cell.attack for cell in board.cells))
