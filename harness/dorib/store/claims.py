"""Claims: which batch a run is at work on, so that runs on one store share the work.

A claim saves work and guards nothing. Of two runs that made the same batch the second takes what
the first has stored; so a claim that is lost, or taken over from a run that was merely slow, costs
time and changes no byte.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from dorib.store.batch import batch_name
from dorib.store.files import discard, inode_of, untouched_for

CLAIM = "claim-"
"""How the names of claims begin."""

REFRESH_SECONDS = 10
"""How often a claim is touched while its run is at work."""

STALE_SECONDS = 120
"""A claim that was not touched for so long is anyone's: its run is gone, or stands still."""


class Claim:
    """A claim of this process, touched until it is released: at the end of its `with` block."""

    def __init__(self, path: Path, content: str) -> None:
        self._path = path
        self._content = content
        self._released = threading.Event()
        self._touching = threading.Thread(target=self._touch, name=path.name, daemon=True)
        self._touching.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let others have the batch; a claim that was taken over meanwhile stays theirs."""
        self._released.set()
        self._touching.join()
        if self._is_ours():
            self._path.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        """By content, which no other claim has: a file's number is used again."""
        try:
            return self._path.read_text(encoding="utf-8") == self._content
        except OSError:
            return False

    def _touch(self) -> None:
        while not self._released.wait(REFRESH_SECONDS):
            if not self._is_ours():
                return
            # Untouched it goes stale, and another run makes the batch as well.
            with suppress(OSError):
                # Without a time of ours: the file system's own.
                os.utime(self._path)


def claim(shelf: Path, items: Sequence[str]) -> Claim | None:
    """Claim a batch; None where another run is at work on it.

    Raises:
        OSError: the disk is full or not writable.
    """
    path = shelf / (CLAIM + batch_name(items).removeprefix("batch-"))
    content = json.dumps(_holder(os.getpid()) | {"claim": secrets.token_hex(8)})
    while True:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            if not remove_abandoned(path):
                return None
            continue
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        return Claim(path, content)


def remove_abandoned(path: Path) -> bool:
    """Remove a claim whose run is gone or stands still; False where it is at work."""
    inode = inode_of(path)
    if inode is not None and not _is_dead(path) and untouched_for(path) <= STALE_SECONDS:
        return False
    discard(path, inode)
    return True


def _is_dead(path: Path) -> bool:
    """Whether the claim is of a process of this machine that has ended."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        process = int(holder["process"])
    except (OSError, ValueError, LookupError, TypeError):
        # Gone, or not written to the end yet: its age tells.
        return False
    if holder.get("machine") is None or holder["machine"] != _machine():
        return False
    return any(holder.get(name) != value for name, value in _holder(process).items())


def _holder(process: int) -> dict[str, str | int | None]:
    """What tells a process from all others, those that get its number later among them."""
    return {"machine": _machine(), "process": process, "started": _started(process)}


@cache
def _machine() -> str | None:
    """This boot of this machine, and whose process numbers hold here; None where it cannot say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        numbers = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return None
    return f"{socket.gethostname()} {boot} {numbers}"


def _started(process: int) -> str | None:
    """When a process of this machine began, in its clock's ticks; None: it has ended."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    # After the name, which may hold anything.
    fields = stat.rpartition(")")[2].split()
    state, started = fields[0], fields[19]
    # Ended, and not yet waited for by its parent.
    return None if state in "ZX" else started
