"""How a run tells of its progress; the command line draws it, the library stays silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeAlias

Advance: TypeAlias = Callable[[int], None]
"""Called with the number of units finished since the last call."""


class Reporter(Protocol):
    """Hears of each verb as it starts and advances."""

    def verb(self, name: str, subject: str, total: int) -> AbstractContextManager[Advance]:
        """A verb starts, with `total` units of work before it (0: unknown)."""

    def note(self, text: str) -> None:
        """Something the user should know, in one line."""

    def failure(self, text: str, error: BaseException) -> None:
        """A plugin failed: what it means for the run, in one line, and the exception."""


class Silent:
    """Reports nothing."""

    @contextmanager
    def verb(self, name: str, subject: str, total: int) -> Iterator[Advance]:
        """Ignore the verb."""
        yield lambda units: None

    def note(self, text: str) -> None:
        """Ignore the note."""

    def failure(self, text: str, error: BaseException) -> None:
        """Ignore the failure: the records tell of it."""
