"""One batch in the store: its files, and the index that they are checked against when read."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, ValidationError

from dorib.errors import DoribError
from dorib.store.files import flush_all
from dorib.store.fingerprint import digest
from dorib.validation import StrictModel

INDEX = "index.json"

State: TypeAlias = tuple[int, int, int]
"""Of a file: size in bytes, time of the last change in nanoseconds, inode."""


class DamagedError(Exception):
    """Why a batch is not what was written."""


class FileEntry(StrictModel):
    """What one file of a batch must be."""

    sha256: str
    size: int = Field(ge=0)
    """Bytes."""


class Index(StrictModel):
    """The content of a batch's `index.json`."""

    format: Literal[1] = 1
    key: str
    """Of the shelf that the batch belongs to."""
    items: tuple[str, ...]
    files: dict[str, FileEntry]
    """By place in the batch's folder, the index itself left out."""

    def to_text(self) -> str:
        """The one form in which an index is written."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"


@dataclass(frozen=True)
class Batch:
    """A batch whose files are what its index says."""

    folder: Path
    index: Index
    states: Mapping[str, State]
    """Of each file, as it was when it was checked."""

    def files_of(self, item: str) -> dict[str, str]:
        """sha256 of the files that are an item's own, by place in the batch's folder.

        They are those in the folder of its name, and those that have its name before their suffix.

        Raises:
            DoribError: one is no longer the file that was checked.
        """
        own = [
            name
            for name in self.index.files
            if name.startswith(f"{item}/") or name.rpartition(".")[0] == item
        ]
        for name in own:
            if _state(self.folder / name) != self.states[name]:
                raise DoribError(
                    f"{self.folder / name}: changed after it had been checked; run again, and what "
                    "is damaged is computed anew"
                )
        return {name: self.index.files[name].sha256 for name in own}


def batch_name(items: Sequence[str]) -> str:
    """The name of the folder that holds these items."""
    return "batch-" + digest(list(items))[:16]


def seal(folder: Path, key: str, items: Sequence[str]) -> tuple[Index, dict[str, State]]:
    """Write the index of all files in `folder`, and have all of them on the disk itself."""
    entries, states = {}, {}
    for name in _files(folder):
        entries[name], states[name] = _examined(folder / name)
    index = Index(key=key, items=tuple(items), files=entries)
    (folder / INDEX).write_text(index.to_text(), encoding="utf-8")
    flush_all([*folder.rglob("*"), folder])
    return index, states


def checked_batch(folder: Path, key: str, *, by_content: bool = True) -> Batch:
    """The batch in `folder`, every file of it compared with the index.

    Without `by_content` files are compared by their size alone: for what is only counted.

    Raises:
        DamagedError: a file, or the index, is not what was written, or belongs elsewhere.
    """
    try:
        index = _read_index(folder)
        if index.key != key:
            raise DamagedError("belongs to another key")
        if folder.name != batch_name(index.items):
            raise DamagedError(f"{INDEX} lists other items")
        names = _files(folder)
        if strange := sorted(set(names) ^ set(index.files)):
            raise DamagedError(f"{strange[0]} is {'unknown' if strange[0] in names else 'missing'}")
        states = {}
        for name, expected in index.files.items():
            found, states[name] = _examined(
                folder / name, expected.size, None if by_content else expected.sha256
            )
            if found != expected:
                raise DamagedError(f"{name} is damaged")
    except OSError as error:
        raise DamagedError(f"cannot be read ({error.strerror})") from error
    return Batch(folder, index, states)


def _read_index(folder: Path) -> Index:
    path = folder / INDEX
    if not stat.S_ISREG(path.lstat().st_mode):
        raise DamagedError(f"{INDEX} is no file")
    content = path.read_bytes()
    try:
        index = Index.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise DamagedError(f"{INDEX} is damaged") from error
    if index.to_text().encode() != content:
        raise DamagedError(f"{INDEX} is damaged")
    return index


def _files(folder: Path) -> list[str]:
    """All that is in the folder and is no folder, the index left out."""
    found = []
    for place, _, names in os.walk(folder):
        relative = Path(place).relative_to(folder)
        found += [(relative / name).as_posix() for name in names]
    return sorted(name for name in found if name != INDEX)


def _examined(
    path: Path, expected_size: int | None = None, known_sha256: str | None = None
) -> tuple[FileEntry, State]:
    """Size, sha256 and state of one file; of another size than expected it is not hashed."""
    state = _state(path)
    if state is None:
        raise DamagedError(f"{path.name} is no file")
    if expected_size is not None and state[0] != expected_size:
        raise DamagedError(f"{path.name} has {state[0]} bytes, not {expected_size}")
    if known_sha256 is not None:
        return FileEntry(sha256=known_sha256, size=state[0]), state
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(sha256=sha256, size=state[0]), state


def _state(path: Path) -> State | None:
    """None where there is no regular file: a link leads to what may change unnoticed."""
    try:
        found = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino
