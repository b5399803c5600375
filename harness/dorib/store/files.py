"""Files that are there as a whole or not at all, and what killed runs leave of them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from dorib.errors import DoribError

UNFINISHED = ".writing-"
"""How the names of files and folders begin that are not finished, and of probes."""

LEFT_OVER_SECONDS = 3600
"""What is unfinished and was not touched for so long belongs to a run that was killed."""

FLUSHED_AT_ONCE = 8
"""Files that are written to the disk itself side by side."""


def write_json(path: Path, content: Any) -> None:
    """Write a JSON value, whole or not at all.

    Raises:
        OSError: the disk is full or not writable.
    """
    write_text(path, as_json(content))


def as_json(content: Any) -> str:
    """A JSON value as it is written into files."""
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def whole_file(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Where to write what is to lie at `path`: it is moved there once it is written and on disk.

    The name ends as that of `path` does. Nothing is left of it where the block does not end well.
    A file of the same content that lies there already is left alone: to flush one takes longer
    than to read it. Not `durable`, it may be lost if the machine itself fails: for what the next
    run writes anew.
    """
    temporary = unfinished(path.parent, path.suffix)
    try:
        yield temporary
        if not _same_content(temporary, path):
            if durable:
                flush(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _same_content(written: Path, there: Path) -> bool:
    """Whether `there` is a file of its own that holds what was written."""
    try:
        if there.is_symlink() or there.stat().st_size != written.stat().st_size:
            return False
        with written.open("rb") as one, there.open("rb") as other:
            return file_digest(one, "sha256").digest() == file_digest(other, "sha256").digest()
    except OSError:
        return False


def unfinished(folder: Path, suffix: str = "") -> Path:
    """A name in `folder` that nobody else uses, and that `sweep` knows."""
    return folder / f"{UNFINISHED}{secrets.token_hex(8)}{suffix}"


def flush(path: Path) -> None:
    """Have a file's content, or a folder's list of names, written to the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_all(paths: Iterable[Path]) -> None:
    """`flush` for many: side by side, as a disk writes many at once sooner than one by one."""
    with ThreadPoolExecutor(FLUSHED_AT_ONCE) as pool:
        for _ in pool.map(flush, paths):
            pass


def sweep(folder: Path) -> None:
    """Remove what killed runs left unfinished in `folder`; what is being written now stays."""
    remove_older(folder, folder.glob(f"{UNFINISHED}*"), LEFT_OVER_SECONDS)


def remove_older(folder: Path, paths: Iterable[Path], seconds: float) -> None:
    """Remove those of `paths` that nobody has touched for so long.

    Their age is told by the clock of `folder`'s own file system, which may be another machine's.
    """
    now = None
    for path in paths:
        now = clock_of(folder) if now is None else now
        # Either way: a clock that was put back leaves files of a time to come.
        if abs(now - last_touched(path)) > seconds:
            remove(path)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; what is gone already is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def inode_of(path: Path) -> int | None:
    """Of what lies at `path`; None where nothing does."""
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return None


def discard(path: Path, inode: int | None) -> bool:
    """Remove what lies at `path`, unless it is no longer what had that inode.

    False where it is another by now, or gone: someone else has seen to it.
    """
    if inode is None or inode_of(path) != inode:
        return False
    # Renamed first, so that no half of it is ever seen in its place.
    aside = unfinished(path.parent)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return False
    remove(aside)
    return True


def untouched_for(path: Path) -> float:
    """Seconds since `path` was touched, by the clock of its own file system.

    A clock that was put back makes no difference: a time to come is as far away as one that is
    past. What is gone is infinitely old.
    """
    return abs(clock_of(path.parent) - last_touched(path))


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder to write into, which is moved to `path` once all of it is on disk.

    Nothing is left of it where the block does not end well.

    Raises:
        OSError: the disk is full or not writable, or something has come to lie at `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = unfinished(path.parent)
    temporary.mkdir()
    try:
        yield temporary
        flush_all([*temporary.rglob("*"), temporary])
        temporary.rename(path)
        flush(path.parent)
    finally:
        remove(temporary)


@contextmanager
def named_write_errors(folder: Path, option: str | None = "--out") -> Iterator[None]:
    """Around whatever writes below `folder`, which `option`, if any, names on the command line.

    Raises:
        DoribError: the disk is full or not writable.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        remedy = f"choose another {option}" if option else "see that it may be written"
        raise DoribError(
            f"{folder}: cannot be written ({reason}); free some space or {remedy}"
        ) from error


def clock_of(folder: Path) -> float:
    """The time now, in seconds, by the clock of a folder's own file system."""
    probe = unfinished(folder)
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def last_touched(path: Path) -> float:
    """Seconds; of a folder the time of what was touched last in it, of what is gone infinity."""
    touched = []
    for place in (path, *path.rglob("*")) if path.is_dir() else (path,):
        try:
            touched.append(place.lstat().st_mtime)
        except FileNotFoundError:
            continue
    return max(touched, default=float("inf"))
