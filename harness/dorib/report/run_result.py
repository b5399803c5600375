"""What a run leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dorib.ranking.entries import Entry
from dorib.ranking.entry_fields import ProfileName


@dataclass(frozen=True)
class RunResult:
    """What a run leaves behind."""

    entries: list[Entry]
    leaderboard: Path
    entry_files: list[Path]
    pictures: dict[tuple[str, str], Path]
    """By mitigation and attack: a folder with one strip for each sample and an overview."""
    records: Path
    profile: ProfileName
    reused: bool
    """Nothing had to be computed: everything was in the store."""
    lacking: tuple[str, ...] = ()
    """Attacks that the suite requires for a rank and that were not run."""
    failed: tuple[str, ...] = ()
    """One reason for each method of which nothing came."""
