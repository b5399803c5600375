"""The store: artefacts on disk, keyed by what they depend on. Only this module lays out paths.

    <root>/<kind>/<key>/key.json            what the key was made of
    <root>/<kind>/<key>/<batch>/index.json  the items that a batch brought
    <root>/<kind>/<key>/<batch>/...         their files

A batch is written beside its place and renamed into it, so that it is there as a whole or not at
all: killed anywhere, a run finds whole batches and computes the rest in the same batches.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

from dorib.errors import DoribError
from dorib.store.files import named_write_errors, write_json
from dorib.store.fingerprint import digest

LEFT_OVER_SECONDS = 3600

ArtefactKind: TypeAlias = Literal["checks", "edits", "triggers", "images", "records"]


class Shelf:
    """All artefacts of one kind under one key: items by name, in batches."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key
        self._items: dict[str, Path] = {}
        for index in sorted(folder.glob("batch-*/index.json")):
            self._index(index)

    def __contains__(self, item: str) -> bool:
        return item in self._items

    def __getitem__(self, item: str) -> Path:
        """The batch folder that holds `item`."""
        return self._items[item]

    def missing(self, items: Sequence[str]) -> list[str]:
        """Those of `items` that are not there yet, in order."""
        return [item for item in items if item not in self._items]

    @contextmanager
    def batch(self, items: Sequence[str]) -> Iterator[Path]:
        """A folder to write the files of `items` into; committed when the block ends well.

        Raises:
            DoribError: the disk is full or not writable; nothing half-written is left.
        """
        name = "batch-" + digest(list(items))[:16]
        with named_write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=self.folder))
            try:
                yield temporary
                write_json(temporary / "index.json", list(items))
                self._commit(temporary, self.folder / name)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        self._index(self.folder / name / "index.json")

    @contextmanager
    def scratch(self, items: Sequence[str]) -> Iterator[Path]:
        """A folder for what makes `items`: kept if the block is cut short, removed if it ends well.

        It need not exist; whoever uses it makes it.
        """
        folder = self.folder / ("scratch-" + digest(list(items))[:16])
        yield folder
        shutil.rmtree(folder, ignore_errors=True)

    def _commit(self, temporary: Path, place: Path) -> None:
        try:
            temporary.rename(place)
        except OSError:
            # Another run of the same plan was faster: its bytes are as good as ours.
            if not (place / "index.json").exists():
                raise

    def _index(self, index: Path) -> None:
        try:
            items = json.loads(index.read_text())
        except (OSError, ValueError) as error:
            raise DoribError(f"{index}: damaged; delete its folder and run again") from error
        for item in items:
            self._items.setdefault(item, index.parent)


class Store:
    """A folder of shelves."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def shelf(self, kind: ArtefactKind, key: dict[str, Any]) -> Shelf:
        """The shelf for `key`, which names everything that its artefacts depend on."""
        name = digest(key)
        folder = self.root / kind / name[:32]
        with named_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
            if not (folder / "key.json").exists():
                write_json(folder / "key.json", key)
        return Shelf(folder, name)


def _sweep(folder: Path) -> None:
    """Remove what killed runs left; a batch that is being written now is seconds old."""
    for left_over in folder.glob(".writing-*"):
        if time.time() - left_over.stat().st_mtime > LEFT_OVER_SECONDS:
            shutil.rmtree(left_over, ignore_errors=True)
