"""What leaderboards are made of, beside the artefacts: cells with their records, and their list.

    <root>/boards/<name>/board.json                  what the board is of, and its cells in order
    <root>/boards/<name>/<part>.<digest>.json        what ranking must know of a cell
    <root>/boards/<name>/<part>.<digest>.jsonl       the records of a cell, or of a mitigation alone
    <root>/boards/<name>/original.<sample>.png       an original, as pictures for readers show it

A part's file is named by its content and never changed; the list names those that count. So a
board is at each moment the former one or the next, wherever its writer is killed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from dorib.errors import DoribError
from dorib.store.files import UNFINISHED, named_write_errors, write_text

BOARDS = "boards"
LIST = "board.json"
_SHOWN = 16
"""Digits of a digest in a file's name."""


class BoardFolder:
    """The files of one leaderboard in the store."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.folder = root / BOARDS / name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs from writing to any board of the store meanwhile.

        Raises:
            DoribError: the folder is not writable.
        """
        with named_write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder.parent / "lock")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @property
    def list(self) -> Path:
        """The file that names what counts."""
        return self.folder / LIST

    def original(self, sample: str) -> Path:
        """The picture of a sample's original."""
        return self.folder / f"original.{sample}.png"

    def put(self, part: str, text: str, suffix: str) -> str:
        """Write a part that is not there yet; gives the sha256 of its content.

        Raises:
            OSError: the disk is full or not writable.
        """
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        write_text(self.place(part, sha256, suffix), text)
        return sha256

    def place(self, part: str, sha256: str, suffix: str) -> Path:
        """Where a part of this content lies."""
        return self.folder / f"{part}.{sha256[:_SHOWN]}.{suffix}"

    def read(self, part: str, sha256: str, suffix: str) -> str:
        """A part's text.

        Raises:
            DoribError: it is missing, or not what was written.
        """
        path = self.place(part, sha256, suffix)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DoribError(
                f"{path}: cannot be read ({error.strerror}); restore the file, or run again"
            ) from error
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = None
        if text is None or hashlib.sha256(content).hexdigest() != sha256:
            raise DoribError(f"{path}: damaged; restore the file, or run again")
        return text

    def remove_others(self, places: Collection[Path]) -> None:
        """Remove the parts that do not count; only while the board is locked."""
        for path in self.folder.iterdir():
            part = path.suffix in (".json", ".jsonl") and path.name != LIST
            if part and path not in places and not path.name.startswith(UNFINISHED):
                path.unlink(missing_ok=True)


def boards(root: Path) -> list[BoardFolder]:
    """Those that are in a store, by name."""
    found = sorted((root / BOARDS).glob(f"*/{LIST}"))
    return [BoardFolder(root, path.parent.name) for path in found]
