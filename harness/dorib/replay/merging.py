"""Taking a submission into a board: held against it, reviewed, ranked among its rows, marked."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from dorib.errors import DoribError
from dorib.host.registry import Registry
from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import entry_file, leaderboard, write_leaderboard
from dorib.replay.aging import told_by_code
from dorib.replay.marking import rows_of
from dorib.replay.reviewing import Review, refuse_incomparable, review
from dorib.report.export.galleries import copy_pictures, joined, only
from dorib.report.gallery import GALLERY_FILE, Gallery
from dorib.report.site.boards import Board, read_board
from dorib.report.site.history import read_history, record_changes
from dorib.report.site.marks import read_marks, write_marks
from dorib.report.site.pictures import problem_of, read_pictures
from dorib.report.site.rows import board_rows
from dorib.report.witnesses.places import (
    edit_place,
    stub_place,
    triggers_place,
    utility_place,
    values_place,
)
from dorib.reporting import Reporter
from dorib.store.files import named_write_errors, write_json


def merge(
    submission: Path,
    board: Path,
    registry: Registry,
    reporter: Reporter,
    *,
    by: str,
    suite: str | None = None,
    large: Path | None = None,
) -> Review:
    """Verify a submission and put its rows onto a board, ranked anew, with their marks.

    A row that is there already gives way only to one of a worst gap that is no smaller, and to none
    whose claim failed. A board with pictures is given those that were drawn to verify the row:
    nothing shows that a submission's own are the row's.

    Takes what `review` takes.

    Raises:
        DoribError: one of the two cannot be read, they are of another suite or making, or the
            board cannot be written; then the board is as it was.
    """
    new, there = read_board(submission, registry), read_board(board, registry)
    pictures = read_pictures(board, there.entries)
    read_history(board)
    refuse_incomparable(new, there)
    # Before the long part: whether all its rows could stand there.
    _ranked_together(there, new, {row.mitigation.label for row in rows_of(new)}, registry)
    with TemporaryDirectory(prefix="dorib-merge-") as place:
        drawn = None if pictures is None else Path(place)
        found = review(
            submission, board, registry, reporter, by=by, suite=suite, large=large, pictures=drawn
        )
        if not found.taken:
            return found
        entries = _ranked_together(there, new, found.taken, registry, found.model)
        with named_write_errors(board, "--board"):
            for entry in entries:
                if entry.mitigation.label in found.taken:
                    _take_witnesses(submission, board, entry)
            write_leaderboard(
                board, entries, there.leaderboard.required_attacks, there.leaderboard.unfinished
            )
            kept = {entry_file(entry) for entry in entries}
            for file in (entry_file(entry) for entry in there.entries):
                if file not in kept:
                    (board / file).unlink(missing_ok=True)
            if pictures and drawn:
                _take_pictures(drawn, board, pictures.gallery, entries, found.taken)
            write_marks(board, {label: found.marks[label] for label in found.taken})
            rows = board_rows(read_board(board, registry).leaderboard, entries, read_marks(board))
            record_changes(board, rows, by, datetime.datetime.now(datetime.UTC).date())
    return found


def _ranked_together(
    there: Board, new: Board, taken: Collection[str], registry: Registry, model: str | None = None
) -> Sequence[Entry]:
    """The entries of a board with those rows of a submission in the place of its own.

    What other code made than that which verified says so: rows that come in the course of a year
    are made by several versions.

    Raises:
        DoribError: they make no leaderboard.
    """
    entries = [e for e in there.entries if e.mitigation.label not in taken]
    entries += [e for e in new.entries if e.mitigation.label in taken]
    entries = told_by_code(entries, model or new.entries[0].digests.model, registry)
    try:
        leaderboard(entries, there.leaderboard.required_attacks, there.leaderboard.unfinished)
    except DoribError as error:
        reason = str(error).removeprefix("leaderboard: ")
        raise DoribError(f"{new.folder}: cannot stand on {there.folder}: {reason}") from error
    return entries


def _take_witnesses(submission: Path, board: Path, entry: Entry) -> None:
    packs = [edit_place(entry), triggers_place(entry)]
    for place in (*packs, *map(stub_place, packs), values_place(entry), utility_place(entry)):
        target = board / place
        if (submission / place).is_file():
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(submission / place, target)
        else:
            target.unlink(missing_ok=True)


def _take_pictures(
    drawn: Path, board: Path, there: Gallery, entries: Sequence[Entry], taken: Collection[str]
) -> None:
    """Those of the rows that are taken, in the place of what the board has of them.

    A cell of which other samples came back than its entry counts, a row's whose claim failed for
    instance, is left without.
    """
    places = {(entry.mitigation.label, entry.attack.label) for entry in entries}
    of_rows = {place for place in places if place[0] in taken}
    own = Gallery.model_validate_json((drawn / GALLERY_FILE).read_bytes())
    by_cell = {place: only(own, [place]) for place in of_rows}
    agreeing = {place for place, one in by_cell.items() if problem_of(drawn, one, entries) is None}
    theirs = only(own, agreeing)
    copy_pictures(drawn, theirs, board)
    both = joined(only(there, places - of_rows), theirs)
    write_json(board / GALLERY_FILE, both.model_dump(mode="json"))
