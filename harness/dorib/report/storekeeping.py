"""What lies in the store of a run, what its board needs of it, and what is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from dorib.errors import DoribError
from dorib.ranking.leaderboard import LEADERBOARD_FILE
from dorib.report.board.computing import read_run_file
from dorib.report.board.kept import KeptBoard, KeptCell, read_kept
from dorib.report.pictures import can_be_shown
from dorib.store.boards import BOARDS, BoardFolder, boards
from dorib.store.files import LEFT_OVER_SECONDS
from dorib.store.fingerprint import digest
from dorib.store.housekeeping import (
    StoredShelf,
    damaged_batches,
    remove_shelf,
    stored_shelves,
)


@dataclass(frozen=True)
class Holding:
    """A shelf of the store, and which cells need it."""

    shelf: StoredShelf
    cells: tuple[tuple[str, str], ...]
    """Labels of mitigation and attack, of all boards in the store."""
    boards: tuple[str, ...]
    """Names of the boards that they are on."""
    needed: bool
    """A cell of the board beside the store was made from it."""

    @property
    def mitigations(self) -> tuple[str, ...]:
        """Labels."""
        return tuple(dict.fromkeys(mitigation for mitigation, _ in self.cells))

    @property
    def attacks(self) -> tuple[str, ...]:
        """Labels."""
        return tuple(dict.fromkeys(attack for _, attack in self.cells))


def store_of(out: Path) -> Path:
    """The store in a run's folder."""
    return out / "store"


def holdings(out: Path) -> list[Holding]:
    """All that is in the store of a run's folder, by place.

    Raises:
        DoribError: there is no store, or a board in it is damaged.
    """
    root = store_of(out)
    shelves = stored_shelves(root)
    users: dict[str, list[tuple[str, KeptCell]]] = {}
    for folder in boards(root):
        for cell in _cells(folder):
            for place in (*cell.shelves, f"{BOARDS}/{folder.name}"):
                users.setdefault(place, []).append((folder.name, cell))
    beside = _board_beside(out)
    models = {
        cell.facts.digests.model
        for board, cell in users.get(f"{BOARDS}/{beside}", ())
        if board == beside
    }
    found = []
    for shelf in shelves:
        using = users.get(shelf.place, [])
        cells = [cell.labels for _, cell in using] or _named_in(shelf)
        names = tuple(dict.fromkeys(board for board, _ in using))
        # What was seen of a model before any work is of all that it made.
        needed = beside in names or (
            shelf.kind == "checks" and digest(shelf.key.get("model")) in models
        )
        found.append(Holding(shelf, tuple(dict.fromkeys(cells)), names, needed))
    return found


def prunable(out: Path, older_than: float | None) -> list[Holding]:
    """What no entry of the board beside the store was made from.

    What was touched within the last hour stays: a run may be at work on it.

    Args:
        out: a run's folder.
        older_than: seconds; only what nobody has touched for so long.

    Raises:
        DoribError: there is no board beside the store, or its run is not done, so that what it has
            made so far is on no board.
    """
    name = _board_beside(out)
    if name is None:
        raise DoribError(
            f"{out}: no leaderboard beside the store, so nothing tells what is needed; run "
            "`dorib report` on it first"
        )
    kept = read_kept(BoardFolder(store_of(out), name))
    if older_than is None and kept is not None and kept.unfinished:
        raise DoribError(
            f"{out}: a run has yet to come to {len(kept.unfinished)} cells, and what it has made "
            "for them is on no board; let it finish, or give --older-than"
        )
    least = max(LEFT_OVER_SECONDS, older_than or 0)
    return [one for one in holdings(out) if not one.needed and one.shelf.age >= least]


def prune(out: Path, found: list[Holding]) -> None:
    """Remove shelves.

    Raises:
        DoribError: the store is not writable.
    """
    for one in found:
        remove_shelf(store_of(out), one.shelf.place)


def damages(out: Path) -> Iterator[tuple[str, str]]:
    """What is not as it was written, by its place in the store, with the reason.

    Raises:
        DoribError: there is no store.
    """
    root = store_of(out)
    yield from damaged_batches(root)
    for folder in boards(root):
        try:
            kept = read_kept(folder)
        except DoribError:
            yield f"{BOARDS}/{folder.name}/{folder.list.name}", "is damaged"
            continue
        for part, sha256, suffix in _parts(kept):
            try:
                folder.read(part, sha256, suffix)
            except DoribError:
                place = folder.place(part, sha256, suffix)
                yield place.relative_to(root).as_posix(), "is damaged or missing"
        for sample in kept.facts.memorized if kept else ():
            place = folder.original(sample.id)
            if not can_be_shown(place):
                yield place.relative_to(root).as_posix(), "is no whole picture, or missing"


def _board_beside(out: Path) -> str | None:
    name = read_run_file(out).get("board")
    if not (out / LEADERBOARD_FILE).is_file() or not isinstance(name, str):
        return None
    return name if BoardFolder(store_of(out), name).list.is_file() else None


def _cells(folder: BoardFolder) -> Iterator[KeptCell]:
    kept = read_kept(folder)
    for listed in kept.cells if kept else ():
        text = folder.read(f"cell.{listed.slug}", listed.facts, "json")
        try:
            yield KeptCell.model_validate_json(text)
        except ValidationError as error:
            raise DoribError(
                f"{folder.place(f'cell.{listed.slug}', listed.facts, 'json')}: of another version "
                "of dorib; run again"
            ) from error


def _parts(kept: KeptBoard | None) -> Iterator[tuple[str, str, str]]:
    for row in kept.rows if kept else ():
        yield f"row.{row.slug}", row.records, "jsonl"
    for cell in kept.cells if kept else ():
        yield f"cell.{cell.slug}", cell.facts, "json"
        yield f"cell.{cell.slug}", cell.records, "jsonl"


def _named_in(shelf: StoredShelf) -> list[tuple[str, str]]:
    """Labels in the key itself: records have them."""
    mitigation, attack = shelf.key.get("mitigation"), shelf.key.get("attack")
    if shelf.kind == "records" and isinstance(mitigation, str):
        return [(mitigation, attack if isinstance(attack, str) else "utility prompts")]
    return []
