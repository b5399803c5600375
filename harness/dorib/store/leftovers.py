"""Scratch folders of long fits, and the sweeping of what killed runs left in a store."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from dorib.store.batch import batch_name
from dorib.store.claims import CLAIM, remove_abandoned
from dorib.store.files import (
    LEFT_OVER_SECONDS,
    UNFINISHED,
    named_write_errors,
    remove,
    remove_older,
)

ABANDONED_SECONDS = 30 * 24 * 3600
"""A fit that was cut short is gone on with within this time, or starts anew."""

_SCRATCH = re.compile(r"scratch-(?P<items>[0-9a-f]{16})\.\d+")


@contextmanager
def scratch_folder(shelf: Path, items: Sequence[str]) -> Iterator[Path]:
    """A folder for what makes `items`, locked: kept if the block is cut short, else removed.

    Of the folders that killed fits of the same items left, the first that nobody works in is
    handed on; where there is none, the name is new, and the folder does not exist yet.

    Raises:
        DoribError: the disk is full or not writable.
    """
    for number in count():
        folder = shelf / f"scratch-{batch_name(items).removeprefix('batch-')}.{number}"
        lock = _lock(folder)
        with named_write_errors(shelf):
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
        break
    try:
        yield folder
        remove(folder)
    finally:
        _release(lock, folder)


def sweep_store(root: Path) -> None:
    """Remove what killed runs left on any shelf; what is being written or worked in now stays.

    A scratch folder is left over once what it was for is stored, or nobody came back for it.
    """
    for claim in root.glob(f"*/*/{CLAIM}*"):
        remove_abandoned(claim)
    remove_older(root, root.glob(f"*/*/{UNFINISHED}*"), LEFT_OVER_SECONDS)
    left = {path.with_suffix("") if path.suffix == ".lock" else path for path in _scratch(root)}
    for folder in sorted(left):
        with suppress(Timeout):
            lock = _lock(folder)
            lock.acquire(blocking=False)
            try:
                stored = (folder.parent / _batch_of(folder)).exists()
                limit = LEFT_OVER_SECONDS if stored else ABANDONED_SECONDS
                remove_older(root, [folder], limit)
            finally:
                _release(lock, folder)


def _scratch(root: Path) -> Iterator[Path]:
    return (p for p in root.glob("*/*/scratch-*") if _SCRATCH.match(p.name))


def _batch_of(folder: Path) -> str:
    found = _SCRATCH.match(folder.name)
    assert found is not None
    return f"batch-{found['items']}"


def _lock(folder: Path) -> FileLock:
    return FileLock(folder.with_name(f"{folder.name}.lock"))


def _release(lock: FileLock, folder: Path) -> None:
    """Without a folder to guard, the lock's file goes as well, while the lock is still held."""
    if not folder.exists():
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
