"""The store: artefacts on disk, keyed by what they depend on. Only this room lays out paths.

    <root>/<kind>/<key>/key.json            what the key was made of
    <root>/<kind>/<key>/<batch>/index.json  the items that a batch brought, its files' sha256
    <root>/<kind>/<key>/<batch>/...         their files
    <root>/<kind>/<key>/claim-...           a batch that a run is at work on
    <root>/boards/...                       what leaderboards are made of (boards.py)

A batch is written beside its place and renamed into it, so that it is there as a whole or not at
all: killed anywhere, a run finds whole batches and computes the rest in the same batches. What is
not as its index says is removed and computed anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

from dorib.store.batch import Batch, DamagedError, batch_name, checked_batch, seal
from dorib.store.claims import Claim, claim
from dorib.store.files import (
    discard,
    flush,
    inode_of,
    named_write_errors,
    remove,
    unfinished,
    write_text,
)
from dorib.store.fingerprint import digest
from dorib.store.leftovers import scratch_folder, sweep_store

ArtefactKind: TypeAlias = Literal[
    "checks", "edits", "triggers", "images", "records", "probes", "speeds"
]

FORMATS: dict[ArtefactKind, int] = {
    "checks": 1,
    "edits": 2,
    "triggers": 2,
    "images": 2,
    "records": 3,
    "probes": 1,
    "speeds": 1,
}
"""Part of every key: artefacts that were laid out otherwise are computed anew."""

Note: TypeAlias = Callable[[str], None]
"""Told, in one line, of what was damaged."""


def _say_nothing(text: str) -> None:
    pass


class Shelf:
    """All artefacts of one kind under one key: items by name, in batches."""

    def __init__(
        self,
        folder: Path,
        key: str,
        note: Note = _say_nothing,
        patience: float | None = None,
    ) -> None:
        self.folder = folder
        self.key = key
        self.patience = patience
        self._note = note
        self._batches: dict[str, Batch] = {}
        self._places: set[str] = set()
        self.look_again()

    def __contains__(self, item: str) -> bool:
        return item in self._batches

    def __getitem__(self, item: str) -> Path:
        """The batch folder that holds `item`.

        Raises:
            DoribError: the item's files are no longer those that were checked.
        """
        batch = self._batches[item]
        batch.files_of(item)
        return batch.folder

    def files(self, item: str) -> dict[str, str]:
        """sha256 of the item's files, as they were checked, by place in the batch folder.

        Raises:
            DoribError: one is no longer the file that was checked.
        """
        return self._batches[item].files_of(item)

    def digest(self, item: str) -> str:
        """Digest of the files in the item's folder, by relative name and content, as checked."""
        own = f"{item}/"
        files = self.files(item).items()
        return digest({n.removeprefix(own): sha for n, sha in files if n.startswith(own)})

    @property
    def items(self) -> tuple[str, ...]:
        """All that are there, in no order that means anything."""
        return tuple(self._batches)

    def missing(self, items: Sequence[str]) -> list[str]:
        """Those of `items` that are not there yet, in order."""
        return [item for item in items if item not in self]

    def look_again(self) -> None:
        """Take in what other runs have stored since the shelf was opened."""
        for place in sorted(self.folder.glob("batch-*")):
            if place.name not in self._places:
                self._take(place)

    def claim(self, items: Sequence[str]) -> Claim | None:
        """Tell other runs that these items are being made here; None where one of them is at it.

        Raises:
            DoribError: the disk is full or not writable.
        """
        with named_write_errors(self.folder):
            return claim(self.folder, items)

    @contextmanager
    def batch(self, items: Sequence[str]) -> Iterator[Path]:
        """A folder to write the files of `items` into; committed when the block ends well.

        An item's files are `<item>.<suffix>`, or lie in the folder `<item>`.

        Raises:
            DoribError: the disk is full or not writable; nothing half-written is left.
        """
        with named_write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = unfinished(self.folder)
            temporary.mkdir()
            try:
                yield temporary
                self._commit(temporary, items)
            finally:
                remove(temporary)

    def scratch(self, items: Sequence[str]) -> AbstractContextManager[Path]:
        """A folder for what makes `items`: kept if the block is cut short, removed if it ends well.

        It need not exist; whoever uses it makes it. Of two runs at once each has its own; what a
        killed one left is handed to the next.
        """
        return scratch_folder(self.folder, items)

    def _commit(self, temporary: Path, items: Sequence[str]) -> None:
        index, states = seal(temporary, self.key, items)
        place = self.folder / batch_name(items)
        while True:
            try:
                temporary.rename(place)
            except OSError:
                if not place.exists():
                    raise
            else:
                flush(self.folder)
                self._add(Batch(place, index, states))
                return
            # Another run of the same plan was faster: its bytes are as good as ours if they are
            # what it wrote; if not, they are out of the way by now.
            if self._take(place):
                return

    def _take(self, place: Path) -> bool:
        """Whether the batch there can be used; if not it is removed, and that is said."""
        before = inode_of(place)
        try:
            batch = checked_batch(place, self.key)
        except DamagedError as damage:
            self._meet(place, damage, before)
            return False
        self._add(batch)
        return True

    def _meet(self, place: Path, damage: DamagedError, before: int | None) -> None:
        with named_write_errors(self.folder):
            if discard(place, before):
                self._note(f"{place}: {damage}; removed, what it held is computed anew")

    def _add(self, batch: Batch) -> None:
        self._places.add(batch.folder.name)
        for item in batch.index.items:
            self._batches.setdefault(item, batch)


class _ReadShelf(Shelf):
    """Of whoever computes nothing, and so removes nothing either."""

    def _meet(self, place: Path, damage: DamagedError, before: int | None) -> None:
        self._note(f"{place}: {damage}; left alone, the next run computes anew what it held")


class Store:
    """A folder of shelves; `note` is told of what is found damaged.

    `patience`: seconds for which its user waits for batches that other runs are at work on before
    `ElsewhereError` is raised; None: until they are done.
    """

    def __init__(
        self, root: Path, note: Note = _say_nothing, patience: float | None = None
    ) -> None:
        self.root = root
        self.patience = patience
        self._note = note
        self._swept = False
        self._notes_of_shelves: list[set[str]] = []

    @contextmanager
    def noting_shelves(self) -> Iterator[set[str]]:
        """Gives a set that takes the places, below the root, of all shelves opened inside."""
        places: set[str] = set()
        self._notes_of_shelves.append(places)
        try:
            yield places
        finally:
            self._notes_of_shelves.pop()

    def shelf(self, kind: ArtefactKind, key: dict[str, Any]) -> Shelf:
        """The shelf for `key`, which names everything that its artefacts depend on.

        Raises:
            DoribError: the disk is full or not writable.
        """
        content = {"kind": kind, "format": FORMATS[kind], "of": key}
        name = digest(content)
        folder = self.root / kind / name[:32]
        for places in self._notes_of_shelves:
            places.add(f"{kind}/{folder.name}")
        with named_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if not self._swept:
                sweep_store(self.root)
                self._swept = True
            self._write_key(folder / "key.json", content)
        return Shelf(folder, name, self._note, self.patience)

    def batches(self) -> int:
        """How many are stored, on all shelves."""
        return sum(1 for _ in self.root.glob("*/*/batch-*"))

    def shelves(self, kind: ArtefactKind) -> Iterator[tuple[dict[str, Any], Shelf]]:
        """All shelves of a kind that are there, to read, each with the key that it is for."""
        for path in sorted((self.root / kind).glob("*/key.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                name = digest(content)
                key = content["of"]
                current = content["kind"] == kind and content["format"] == FORMATS[kind]
            except (OSError, ValueError, LookupError, TypeError, RecursionError):
                # Damaged: written anew by the next run that needs it.
                continue
            if current and isinstance(key, dict) and path.parent.name == name[:32]:
                yield key, _ReadShelf(path.parent, name, self._note)

    def _write_key(self, path: Path, content: dict[str, Any]) -> None:
        """The folder's name says which key it is; the file is for readers, and must be right."""
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        if not path.is_file() or path.read_bytes() != text.encode():
            if os.path.lexists(path):
                self._note(f"{path}: damaged; written anew")
                remove(path)
            write_text(path, text)
