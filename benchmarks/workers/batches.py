"""Batches of a run and how long each took, as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Timed:
    """One batch of a run."""

    verb: str
    subject: str
    """What the verb was at work on, in its words."""
    seconds: float


def write_batches(path: Path, timed: Sequence[Timed]) -> None:
    """In the order in which one process made them."""
    path.write_text(json.dumps([asdict(one) for one in timed], indent=1) + "\n", encoding="utf-8")


def read_batches(path: Path) -> list[Timed]:
    """What `write_batches` wrote."""
    return [Timed(**one) for one in json.loads(path.read_text(encoding="utf-8"))]
