"""Entries: one (suite, mitigation, attack) cell each, whose fields agree with one another."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError, model_validator

from dorib.errors import DoribError
from dorib.ranking.checks.consistency import check_entry
from dorib.ranking.entry_fields import EntryFields
from dorib.ranking.published import read_published
from dorib.reading import Malformed
from dorib.validation import first_problem


class Entry(EntryFields):
    """A leaderboard row's cell: one mitigation under one attack."""

    @model_validator(mode="after")
    def _agrees(self) -> Entry:
        check_entry(self)
        return self


def read_entry(path: Path | str) -> Entry:
    """Read an entry's file.

    Raises:
        DoribError: it cannot be read, or is no entry of this version.
    """
    try:
        return read_published(Entry, Path(path))
    except (Malformed, FileNotFoundError) as error:
        raise DoribError(f"{path}: cannot be read ({error}); restore the file") from error
    except ValidationError as error:
        raise DoribError(
            f"{path}: no entry ({first_problem(error)}); restore the file, or rank the run again"
        ) from error
