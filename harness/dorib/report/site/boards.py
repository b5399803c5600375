"""Leaderboards as they lie in folders, read and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from dorib.errors import DoribError
from dorib.ranking.entries import Entry, read_entry
from dorib.ranking.leaderboard import LEADERBOARD_FILE, Leaderboard, leaderboard
from dorib.validation import first_problem


@dataclass(frozen=True)
class Board:
    """One leaderboard and the entries that it follows from."""

    folder: Path
    leaderboard: Leaderboard
    entries: tuple[Entry, ...]


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


def read_board(folder: Path) -> Board:
    """The leaderboard in `folder`, ranked anew from its entries.

    Raises:
        DoribError: a file cannot be read, or the leaderboard does not follow from the entries.
    """
    path = folder / LEADERBOARD_FILE
    try:
        published = Leaderboard.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DoribError(f"{path}: cannot be read ({error}); restore the file") from error
    except ValidationError as error:
        raise DoribError(f"{path}: no leaderboard ({first_problem(error)}); run again") from error
    entries = tuple(read_entry(_entry_path(folder, name)) for name in _entry_names(published))
    if leaderboard(entries, published.required_attacks) != published:
        raise DoribError(
            f"{path}: does not follow from the entries it names; restore the files, or run again"
        )
    return Board(folder, published, entries)


def _entry_names(board: Leaderboard) -> list[str]:
    rows = (*board.reference_rows, *board.rows, *board.per_sample_rows)
    return [cell.entry for row in rows for cell in row.cells]


def _entry_path(folder: Path, name: str) -> Path:
    if not re.fullmatch(r"entries/[\w.-]+\.json", name, re.ASCII):
        raise DoribError(
            f"{folder / LEADERBOARD_FILE}: entry {name!r} is no file in `entries`; run again"
        )
    return folder / name
