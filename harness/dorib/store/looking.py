"""A store that is looked at only: what a plan reads, and nothing is written, mended or removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dorib.store.batch import DamagedError, checked_batch
from dorib.store.fingerprint import digest
from dorib.store.store import FORMATS, ArtefactKind, Shelf, Store


class LookedAtShelf(Shelf):
    """What lies there, its content not looked into; what is written is thrown away."""

    @contextmanager
    def batch(self, items: Sequence[str]) -> Iterator[Path]:
        """A folder that is gone after the block."""
        with TemporaryDirectory() as folder:
            yield Path(folder)

    def _take(self, place: Path) -> bool:
        try:
            batch = checked_batch(place, self.key, by_content=False)
        except DamagedError:
            # The next run removes it, and computes anew what it held.
            return False
        self._add(batch)
        return True


class LookedAtStore(Store):
    """A store, which need not exist."""

    def shelf(self, kind: ArtefactKind, key: dict[str, Any]) -> Shelf:
        """The shelf for `key`, whether there is one or not."""
        name = digest({"kind": kind, "format": FORMATS[kind], "of": key})
        return LookedAtShelf(self.root / kind / name[:32], name)
