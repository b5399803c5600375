"""What a store holds: shelves with their sizes and ages, what is damaged, and their removal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dorib.errors import DoribError
from dorib.store.batch import INDEX, DamagedError, checked_batch
from dorib.store.boards import BOARDS
from dorib.store.files import clock_of, last_touched, named_write_errors, remove, unfinished
from dorib.store.fingerprint import digest
from dorib.store.store import FORMATS

KINDS = (*FORMATS, BOARDS)
"""Folders of a store that hold shelves, or boards."""
_INDEX_READ = 1 << 26
"""Bytes: no index is larger."""


@dataclass(frozen=True)
class StoredShelf:
    """One shelf, or one board, as it lies there."""

    place: str
    """Below the store's root: kind and folder."""
    key: dict[str, Any]
    """What it depends on; empty where that cannot be read."""
    items: int
    size: int
    """Bytes of all its files."""
    age: float
    """Seconds since a file of it was last touched, by the clock of its file system."""

    @property
    def kind(self) -> str:
        """Of artefacts: `edits`, `images` ...; or `boards`."""
        return self.place.partition("/")[0]


def stored_shelves(root: Path) -> list[StoredShelf]:
    """Everything in a store, by place.

    Raises:
        DoribError: there is no such folder.
    """
    now = clock_of(_existing(root))
    return [_shelf(root, folder, now) for folder in _folders(root)]


def damaged_batches(root: Path) -> Iterator[tuple[str, str]]:
    """Each batch or key that is not what was written, by its place below the root, with the
    reason; all files are read.

    Raises:
        DoribError: there is no such folder.
    """
    for folder in _folders(_existing(root)):
        if folder.parent.name == BOARDS:
            continue
        content = _key_content(folder)
        key = digest(content) if content else None
        if key is None or key[:32] != folder.name:
            yield _place(root, folder / "key.json"), "is damaged or missing"
            key = None
        for batch in sorted(folder.glob("batch-*")):
            try:
                checked_batch(batch, key or _own_key(batch, folder.name))
            except DamagedError as damage:
                yield _place(root, batch), str(damage)


def remove_shelf(root: Path, place: str) -> None:
    """Remove a shelf or a board as a whole, so that no half of it is ever seen.

    Raises:
        DoribError: the folder is not writable.
    """
    folder = root / place
    with named_write_errors(folder, None):
        aside = unfinished(folder.parent)
        folder.rename(aside)
        remove(aside)


def _existing(root: Path) -> Path:
    if not root.is_dir():
        raise DoribError(f"{root}: no store there; give the folder that `dorib run --out` wrote")
    return root


def _folders(root: Path) -> list[Path]:
    """Those of known kinds; what a link leads to may be anybody's, and is none."""
    kinds = [root / kind for kind in KINDS]
    found = (path for kind in kinds if not kind.is_symlink() for path in kind.glob("*"))
    folders = (path for path in found if path.is_dir() and not path.is_symlink())
    return sorted(path for path in folders if not path.name.startswith("."))


def _shelf(root: Path, folder: Path, now: float) -> StoredShelf:
    files = [path for path in folder.rglob("*") if path.is_file()]
    batches = [path for path in files if path.name == INDEX]
    key = _key_content(folder).get("of")
    return StoredShelf(
        place=_place(root, folder),
        key=key if isinstance(key, dict) else {},
        items=sum(_items(path) for path in batches),
        size=sum(path.lstat().st_size for path in files),
        age=max(0.0, now - last_touched(folder)),
    )


def _key_content(folder: Path) -> dict[str, Any]:
    return _read_object(folder / "key.json")


def _items(index: Path) -> int:
    items = _read_object(index).get("items")
    return len(items) if isinstance(items, list) else 0


def _own_key(batch: Path, shelf: str) -> str:
    """Of a shelf without a readable key, the one that its batch names."""
    key = _read_object(batch / INDEX).get("key")
    return key if isinstance(key, str) and key.startswith(shelf) else shelf


def _read_object(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_INDEX_READ))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _place(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
