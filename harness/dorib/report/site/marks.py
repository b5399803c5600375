"""What is known of the claims of a board's rows: marks that whoever verifies leaves beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, ValidationError

from dorib.contracts.cards import Line
from dorib.errors import DoribError
from dorib.ranking.entries import Entry
from dorib.ranking.published import read_published
from dorib.ranking.rates import Facts, Sha256, is_absent
from dorib.reading import Malformed
from dorib.store.files import write_json
from dorib.store.fingerprint import digest
from dorib.validation import first_problem

MARKS_FILE = "marks.json"
State: TypeAlias = Literal["verified", "unverified", "failed"]
STATES: tuple[State, ...] = ("verified", "unverified", "failed")


class Mark(Facts):
    """What is known of a row's claim."""

    state: State
    by: Line = ""
    """Who verified it."""
    reason: str = ""
    """Where it failed: what is not so. Where it is unverified: why, if that is known."""
    digest: Sha256 | None = Field(default=None, exclude_if=is_absent)
    """Of what was verified, `claimed`: the mark is none of a row that was measured again since."""


UNVERIFIED = Mark(state="unverified")


class Marks(Facts):
    """By a mitigation's label, its row's mark; a row that is not named is unverified."""

    rows: dict[str, Mark] = Field(default_factory=dict)

    def of(self, label: str, cells: Mapping[str, Entry]) -> Mark:
        """A row's mark; `cells` are its entries by the attack's label."""
        mark = self.rows.get(label, UNVERIFIED)
        return mark if mark.digest in (None, claimed(cells)) else UNVERIFIED


def claimed(cells: Mapping[str, Entry]) -> str:
    """Digest of what a row is ranked by: attacks that are not required may come later."""
    return measured(
        {
            attack: entry
            for attack, entry in cells.items()
            if entry.required_attacks is None or attack in entry.required_attacks
        }
    )


def measured(cells: Mapping[str, Entry]) -> str:
    """Digest of what was measured of a row: the same where a card or Python's version changes."""
    return digest(
        {
            attack: [entry.mitigation.fingerprint, entry.digests.model_dump(mode="json")]
            for attack, entry in sorted(cells.items())
        }
    )


def read_marks(board: Path) -> Marks:
    """The marks of a board's rows; none where there is no such file.

    Raises:
        DoribError: the file is damaged.
    """
    path = board / MARKS_FILE
    try:
        return read_published(Marks, path)
    except FileNotFoundError:
        return Marks()
    except Malformed as error:
        raise DoribError(f"{path}: cannot be read ({error}); restore the file") from error
    except ValidationError as error:
        raise DoribError(f"{path}: holds no marks ({first_problem(error)}); restore it") from error


def write_marks(board: Path, new: dict[str, Mark]) -> None:
    """Add marks to those of a board.

    Raises:
        DoribError: the file that is there is damaged.
        OSError: the disk is full or not writable.
    """
    marks = Marks(rows=dict(sorted((read_marks(board).rows | new).items())))
    write_json(board / MARKS_FILE, marks.model_dump(mode="json"))
