"""Writing a board as it grows: after each cell, so that what stops a run loses nothing finished."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dorib.errors import DoribError
from dorib.host.configure import NONE
from dorib.ranking.entries import Entry
from dorib.ranking.facts import RunFacts
from dorib.ranking.leaderboard import LEADERBOARD_FILE, PlannedCell, to_come, write_leaderboard
from dorib.ranking.records import Record
from dorib.report.board.computing import read_run_file, write_run_file
from dorib.report.board.growing import GrowingBoard, Labels, written
from dorib.report.board.kept import (
    KeptBoard,
    KeptCell,
    ListedCell,
    ListedRow,
    kept_board,
    read_kept,
    slug,
    write_kept,
)
from dorib.report.board.older import leaving_for, reasons_older
from dorib.report.board.refusing import refuse_other_board
from dorib.report.pictures import Column, draw_strips
from dorib.store.boards import BoardFolder
from dorib.store.files import named_write_errors, sweep, whole_file
from dorib.store.store import Note, Store

RECORDS_FILE = "records.jsonl"


@dataclass
class Publisher:
    """One run's hand on the board in its folder, which other runs may write to as well."""

    out: Path
    board: GrowingBoard
    note: Note
    planned: list[Labels] = field(default_factory=list)
    """What the run has yet to come to."""
    _begun: bool = False
    _written: KeptBoard | None = None
    """As the files for readers have it, where this run wrote them."""

    @classmethod
    def open(
        cls, out: Path, store: Store, run: RunFacts, model_key: Mapping[str, Any], note: Note
    ) -> Publisher:
        """The board in `out`, or an empty one.

        Raises:
            DoribError: the one there is of another suite, split, profile, k or making.
        """

        said = set[str]()

        def damaged(error: DoribError) -> None:
            if str(error) not in said:
                said.add(str(error))
                note(f"{error}; the rows made from it leave the leaderboard until then")

        empty = kept_board(run, dict(model_key))
        refuse_other_board(out, store.root, empty)
        folder = BoardFolder(store.root, empty.name)
        publisher = cls(out, GrowingBoard(folder, empty, damaged), note)
        if folder.list.is_file():
            with folder.locked():
                publisher._take_what_is_there()
        return publisher

    def publish(
        self,
        cell: KeptCell,
        records: Sequence[Record],
        records_of_mitigation: Sequence[Record],
        computed: Mapping[str, Mapping[str, Any]],
        strips: Sequence[str],
    ) -> None:
        """Put a finished cell on the board and write the board as it is now.

        Args:
            cell: the new one; it wins over an older one of the same labels.
            records: its own.
            records_of_mitigation: those of its mitigation that belong to no attack.
            computed: what was computed for it, and for its mitigation, by their names.
            strips: the samples of which strips of pictures are drawn.

        Raises:
            DoribError: the disk is full or not writable.
        """
        folder, board = self.board.folder, self.board
        with folder.locked(), named_write_errors(self.out):
            self._take_what_is_there()
            if cell.labels in self.planned:
                self.planned.remove(cell.labels)
            kept = self._with(cell, records, records_of_mitigation)
            board.take(kept)
            write_kept(folder, board.kept)
            folder.remove_others(_parts(folder, board.kept))
            draw_cell(self.out, board, board.cells[cell.labels], strips)
            # First: it tells the next run which board in the store the leaderboard is of.
            write_run_file(
                self.out, folder.name, {n: dict(v) for n, v in computed.items()}, names_on(board)
            )
            if board.kept != self._written or not self.planned:
                write_board(self.out, board)
                self._written = board.kept

    def _take_what_is_there(self) -> None:
        if not (self.out / LEADERBOARD_FILE).is_file():
            # Moved away, or never written: a new one begins.
            return
        try:
            there = read_kept(self.board.folder)
        except DoribError as error:
            self.note(f"{error}; the rows of other runs leave the leaderboard")
            there = None
        if there is not None:
            self.board.take(there)

    def _with(
        self, cell: KeptCell, records: Sequence[Record], of_mitigation: Sequence[Record]
    ) -> KeptBoard:
        folder, kept, cells = self.board.folder, self.board.kept, self.board.cells
        former = cells.get(cell.labels)
        cell = _as_before(cell, former)
        leaving = leaving_for(cell, cells)
        for mitigation, attack in leaving:
            if (mitigation, attack) != cell.labels:
                self.note(
                    f"{mitigation} x {attack} was made before {cell.labels[0]} x {cell.labels[1]} "
                    "had changed and leaves the leaderboard; run it again"
                )
        mitigation, attack = cell.labels
        part = f"cell.{cell.slug}"
        turn = max((listed.turn for listed in kept.cells), default=0) + 1
        new = ListedCell(
            mitigation=mitigation,
            attack=attack,
            slug=cell.slug,
            turn=turn,
            facts=folder.put(part, cell.model_dump_json(indent=1) + "\n", "json"),
            records=written(folder, part, records),
        )
        older = reasons_older(kept, cells)
        staying = [c for c in kept.cells if (c.mitigation, c.attack) not in leaving]
        there = {listed.mitigation for listed in staying} | {mitigation}
        row = ListedRow(
            mitigation=mitigation,
            slug=slug(cell.facts.mitigation),
            records=written(folder, f"row.{slug(cell.facts.mitigation)}", of_mitigation),
        )
        unfinished = {*self.planned}
        if self._begun:
            unfinished |= to_come(kept.unfinished)
        self._begun = True
        on_board = {(c.mitigation, c.attack) for c in staying} | {cell.labels}
        return kept.model_copy(
            update={
                "rows": tuple(r for r in _with_row(kept.rows, row) if r.mitigation in there),
                "cells": _placed(staying, new, keep_turn=cell.labels not in older),
                "unfinished": tuple(
                    PlannedCell(mitigation=m, attack=a) for m, a in sorted(unfinished - on_board)
                ),
            }
        )


def draw_cell(out: Path, board: GrowingBoard, cell: KeptCell, samples: Sequence[str]) -> Path:
    """Draw one cell's strips: original, unmitigated, mitigated, attacked; gives their folder."""
    cells, root = board.cells, board.folder.folder.parents[1]
    mitigation, attack = cell.labels
    columns = [Column("original", {s: board.folder.original(s) for s in samples})]
    for title, place in (
        ("unmitigated", (NONE, NONE)),
        (mitigation, (mitigation, NONE)),
        (f"+ {attack}", (mitigation, attack)),
    ):
        shown = cells.get(place)
        if title not in (NONE, f"+ {NONE}"):
            images = shown.pictures if shown else {}
            there = {sample: root / name for sample, name in images.items()}
            columns.append(Column(title, {s: p for s, p in there.items() if p.is_file()}))
    folder = out / "pictures" / cell.slug
    draw_strips(folder, samples, columns)
    return folder


def write_board(out: Path, board: GrowingBoard) -> Path:
    """Write records, entries and leaderboard; gives the leaderboard's file.

    Raises:
        OSError, DoribError: the disk is full or not writable.
    """
    out.mkdir(parents=True, exist_ok=True)
    for folder in (out, out / "entries"):
        sweep(folder)
    with whole_file(out / RECORDS_FILE) as temporary, temporary.open("wb") as file:
        for path in _records(board):
            with path.open("rb") as part:
                shutil.copyfileobj(part, file)
    return write_leaderboard(out, board.entries, unfinished=board.kept.unfinished)


def _records(board: GrowingBoard) -> Iterable[Path]:
    """Of each mitigation its own records, then those of its cells."""
    folder, kept = board.folder, board.kept
    for row in kept.rows:
        yield folder.place(f"row.{row.slug}", row.records, "jsonl")
        for cell in kept.cells:
            if cell.mitigation == row.mitigation:
                yield folder.place(f"cell.{cell.slug}", cell.records, "jsonl")


def _as_before(cell: KeptCell, former: KeptCell | None) -> KeptCell:
    """What comes out the same was found stored: the machine stays that which computed it."""
    if former is None:
        return cell
    now, then = cell.facts.environment, former.facts.environment
    machine = {"processor": then.processor, "threads": then.threads}
    facts = cell.facts.model_copy(update={"environment": now.model_copy(update=machine)})
    if facts.digests != former.facts.digests:
        return cell
    return cell.model_copy(update={"facts": facts})


def _with_row(rows: Sequence[ListedRow], new: ListedRow) -> tuple[ListedRow, ...]:
    if any(row.mitigation == new.mitigation for row in rows):
        return tuple(new if row.mitigation == new.mitigation else row for row in rows)
    return (*rows, new)


def _parts(folder: BoardFolder, kept: KeptBoard) -> set[Path]:
    """The files that count."""
    found = {folder.place(f"row.{row.slug}", row.records, "jsonl") for row in kept.rows}
    for cell in kept.cells:
        name = f"cell.{cell.slug}"
        found.add(folder.place(name, cell.facts, "json"))
        found.add(folder.place(name, cell.records, "jsonl"))
    return found


def note_computed_elsewhere(
    out: Path, entries: Sequence[Entry], computed: dict[str, dict[str, Any]]
) -> None:
    """Add to `run.json` what other processes computed of a run that is finished.

    Raises:
        DoribError: the disk is full or not writable.
    """
    of_cells = {name_of(entry.mitigation.label, entry.attack.label) for entry in entries}
    of_rows = {name_of(entry.mitigation.label) for entry in entries}
    with named_write_errors(out):
        write_run_file(out, read_run_file(out)["board"], computed, of_cells | of_rows)


def names_on(board: GrowingBoard) -> set[str]:
    """What `run.json` may tell of: mitigations and cells."""
    cells = {name_of(*place) for place in board.cells}
    return cells | {name_of(row.mitigation) for row in board.kept.rows}


def name_of(mitigation: str, attack: str | None = None) -> str:
    """A cell in words, or a mitigation."""
    return mitigation if attack is None else f"{mitigation} x {attack}"


def _placed(
    cells: Sequence[ListedCell], new: ListedCell, *, keep_turn: bool
) -> tuple[ListedCell, ...]:
    """`cells` with the new one in its former place, or after the last of its mitigation."""
    for place, former in enumerate(cells):
        if (former.mitigation, former.attack) == (new.mitigation, new.attack):
            same = (former.facts, former.records) == (new.facts, new.records)
            new = former if same and keep_turn else new
            return (*cells[:place], new, *cells[place + 1 :])
    beside = [number for number, c in enumerate(cells) if c.mitigation == new.mitigation]
    place = beside[-1] + 1 if beside else len(cells)
    return (*cells[:place], new, *cells[place:])
