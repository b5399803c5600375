"""Entries and their leaderboard on disk: they change together, wherever a writer is killed.

An entry that changes is first written beside the old one, then the leaderboard is put in place, and
then the new entries are. Until the last of them is, whoever reads tries both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dorib.store.files import as_json, flush, write_json

NEXT = ".next"
"""How the names of entries end that are to be put in place once their leaderboard is."""


def versions(folder: Path, names: Sequence[str]) -> Iterator[list[Path]]:
    """The files of entries by their places below `folder`: those to be put in place, then others.

    Once only, where a writer left none that are waiting.
    """
    there = [folder / name for name in names]
    waiting = [_next(path) if _next(path).is_file() else path for path in there]
    if waiting != there:
        yield waiting
    yield there


def write_together(folder: Path, entries: Mapping[str, Any], board: Path, content: Any) -> None:
    """Write entries, by their places below `folder`, and the leaderboard that follows from them.

    Raises:
        OSError: the disk is full or not writable.
    """
    changed = []
    for name, entry in entries.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            write_json(path, entry)
        elif path.read_bytes() != as_json(entry).encode():
            write_json(_next(path), entry)
            changed.append(path)
    write_json(board, content)
    _put_in_place(folder, changed)


def complete(folder: Path, *, leaderboard_follows: bool) -> None:
    """End what a killed writer began: put waiting entries in place if the leaderboard is theirs."""
    waiting = sorted(folder.glob(f"entries/*.json{NEXT}"))
    if leaderboard_follows:
        _put_in_place(folder, [path.with_suffix("") for path in waiting])
    for path in waiting:
        path.unlink(missing_ok=True)


def _put_in_place(folder: Path, paths: Sequence[Path]) -> None:
    for path in paths:
        _next(path).replace(path)
    if paths:
        flush(folder / "entries")


def _next(path: Path) -> Path:
    return path.with_name(path.name + NEXT)
