"""Entries: one (suite, mitigation, attack) cell with its intervals, budget, versions and hashes.

What they hold is defined in `dorib.ranking.entry_fields` and to be had from here as well.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError, model_validator

from dorib.errors import DoribError
from dorib.ranking.consistency import check_entry
from dorib.ranking.entry_fields import BudgetPoint as BudgetPoint
from dorib.ranking.entry_fields import Digests as Digests
from dorib.ranking.entry_fields import EntryFields as EntryFields
from dorib.ranking.entry_fields import Environment as Environment
from dorib.ranking.entry_fields import MethodFacts as MethodFacts
from dorib.ranking.entry_fields import ProfileName as ProfileName
from dorib.ranking.entry_fields import Samples as Samples
from dorib.ranking.entry_fields import ScopeName as ScopeName
from dorib.ranking.entry_fields import SuiteFacts as SuiteFacts
from dorib.ranking.entry_fields import Summaries as Summaries
from dorib.ranking.entry_fields import Summary as Summary
from dorib.ranking.entry_fields import Work as Work
from dorib.validation import first_problem


class Entry(EntryFields):
    """A leaderboard row's cell: one mitigation under one attack."""

    @model_validator(mode="after")
    def _agrees(self) -> Entry:
        check_entry(self)
        return self


def read_entry(path: Path) -> Entry:
    """Read an entry's file.

    Raises:
        DoribError: it cannot be read, or is no entry of this version.
    """
    try:
        return Entry.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DoribError(f"{path}: cannot be read ({error}); restore the file") from error
    except ValidationError as error:
        raise DoribError(
            f"{path}: no entry ({first_problem(error)}); restore the file, or rank the run again"
        ) from error
