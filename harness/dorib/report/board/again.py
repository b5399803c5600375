"""A board made anew from what the store keeps of it: without the model, and without its suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dorib.errors import DoribError
from dorib.ranking.leaderboard import entry_file
from dorib.report.board.computing import read_run_file, write_run_file
from dorib.report.board.growing import GrowingBoard
from dorib.report.board.kept import KeptBoard, read_kept
from dorib.report.board.publishing import RECORDS_FILE, draw_cell, names_on, write_board
from dorib.report.pictures import can_be_shown
from dorib.report.run_result import RunResult
from dorib.store.boards import BoardFolder, boards
from dorib.store.files import named_write_errors
from dorib.store.store import Note


def report_again(out: Path, note: Note, name: str | None = None) -> RunResult:
    """Write entries, leaderboard, records and pictures of the board in a store.

    Args:
        out: a run's folder, or one with a copy of its `store` alone.
        note: hears of pictures that are not there any more.
        name: of the board, or how it begins; None for that which `run.json` names, or the only one.

    Raises:
        DoribError: there is no such board, a part of it is damaged, or the folder is not writable.
    """
    folder = _chosen(out, name or read_run_file(out).get("board"), asked=name is not None)
    with folder.locked(), named_write_errors(out, None):
        kept = read_kept(folder)
        assert kept is not None
        board = GrowingBoard(folder, KeptBoard(run=kept.run, model=kept.model), _raise)
        board.take(kept)
        if not board.entries:
            raise DoribError(f"{folder.folder}: holds no finished cell; run again")
        write_run_file(out, folder.name, {}, names_on(board))
        leaderboard = write_board(out, board)
        samples = [sample.id for sample in kept.facts.memorized]
        pictures = {
            place: draw_cell(out, board, cell, samples) for place, cell in board.cells.items()
        }
    _note_missing(board, samples, note)
    entries = board.entries
    ran = {entry.attack.label for entry in entries}
    return RunResult(
        entries,
        leaderboard,
        [out / entry_file(entry) for entry in entries],
        pictures,
        out / RECORDS_FILE,
        kept.facts.profile,
        reused=False,
        lacking=tuple(one for one in kept.facts.required_attacks if one not in ran),
    )


def _chosen(out: Path, name: str | None, *, asked: bool) -> BoardFolder:
    there = boards(out / "store")
    if not there:
        raise DoribError(
            f"{out}: no board in its store; give the folder that `dorib run --out` wrote, or run "
            "the same again, which computes nothing that is stored"
        )
    named = [board for board in there if name and board.name.startswith(name)]
    if len(named) == 1:
        return named[0]
    if not asked and len(there) == 1:
        return there[0]
    listed = "; ".join(f"{board.name[:8]} ({describe(board)})" for board in there)
    meant = "no such board" if name and not named else "which board is meant is not clear"
    raise DoribError(f"{out}: {meant}; give --board: {listed}")


def describe(board: BoardFolder) -> str:
    """A board in words.

    Raises:
        DoribError: it is damaged.
    """
    kept = read_kept(board)
    assert kept is not None
    run = kept.facts
    return f"{run.suite.name}, {run.split}, {run.profile}, k {run.k}, {len(kept.cells)} cells"


def _note_missing(board: GrowingBoard, samples: Sequence[str], note: Note) -> None:
    root = board.folder.folder.parents[1]
    places = {root / name for cell in board.cells.values() for name in cell.pictures.values()}
    places |= {board.folder.original(sample) for sample in samples}
    if missing := sorted(str(place) for place in places if not can_be_shown(place)):
        others = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        note(f"no whole picture in the store, left out of strips: {missing[0]}{others}")


def _raise(error: DoribError) -> None:
    raise error
