"""Leaderboards as they lie in folders, read and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from dorib.errors import DoribError
from dorib.host.registry import Registry
from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import LEADERBOARD_FILE, Leaderboard, leaderboard, read_entries
from dorib.ranking.published import read_published
from dorib.reading import Malformed
from dorib.report.site.suites import check_against_suite
from dorib.validation import first_problem


@dataclass(frozen=True)
class Board:
    """One leaderboard and the entries that it follows from."""

    folder: Path
    leaderboard: Leaderboard
    entries: tuple[Entry, ...]

    @property
    def address(self) -> str:
        """The folder's name in a link beside it; file systems take names that no text can hold."""
        return quote(os.fsencode(self.folder.name))


def find_boards(root: Path) -> list[Path]:
    """Folders that hold a leaderboard: `root` itself, or else those in it, by name.

    Raises:
        DoribError: there is none.
    """
    if (root / LEADERBOARD_FILE).is_file():
        return [root]
    found = sorted(path.parent for path in root.glob(f"*/{LEADERBOARD_FILE}"))
    if not found:
        raise DoribError(
            f"{root}: no {LEADERBOARD_FILE} in it or one folder below; "
            "give the folder that `dorib run --out` wrote, or one that holds several of them"
        )
    return found


def read_board(folder: Path, registry: Registry) -> Board:
    """The leaderboard in `folder`, ranked anew from its entries.

    `registry` holds the suites that are installed: a leaderboard of one of them is held against it.

    Raises:
        DoribError: a file cannot be read, or the leaderboard does not follow from the entries.
    """
    path = folder / LEADERBOARD_FILE
    try:
        published = read_published(Leaderboard, path)
    except (Malformed, FileNotFoundError) as error:
        raise DoribError(f"{path}: cannot be read ({error}); restore the file") from error
    except ValidationError as error:
        raise DoribError(f"{path}: no leaderboard ({first_problem(error)}); run again") from error
    _refuse_other_places(path, published.entry_files)
    entries = read_entries(folder, published)
    try:
        ranked = leaderboard(entries, published.required_attacks, published.unfinished)
    except DoribError as error:
        raise DoribError(f"{folder}: {error}; restore the files, or run again") from error
    if ranked != published:
        raise DoribError(
            f"{path}: {_first_difference(published, ranked)} does not follow from the entries it "
            "names; restore the files, or run again"
        )
    check_against_suite(path, published, entries, registry)
    return Board(folder, published, entries)


def _first_difference(published: Leaderboard, ranked: Leaderboard) -> str:
    """The first field that differs, by its path."""
    one, other, path = published.model_dump(mode="json"), ranked.model_dump(mode="json"), ""
    while True:
        if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
            names: list[Any] = list(one)
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            names = list(range(len(one)))
        else:
            return path.removeprefix(".")
        name = next((name for name in names if one[name] != other[name]), None)
        if name is None:
            return path.removeprefix(".")
        one, other, path = one[name], other[name], f"{path}.{name}"


def _refuse_other_places(board: Path, names: Iterable[str]) -> None:
    for name in names:
        if not re.fullmatch(r"entries/[\w.-]+\.json", name, re.ASCII):
            raise DoribError(f"{board}: entry {name!r} is no file in `entries`; run again")
