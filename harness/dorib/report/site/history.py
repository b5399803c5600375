"""When a board's rows came and changed, and who measured them: lines beside the leaderboard."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from dorib.contracts.cards import Line
from dorib.errors import DoribError
from dorib.ranking.published import of_published
from dorib.ranking.rates import Facts, Sha256
from dorib.reading import Malformed, read_text
from dorib.report.site.marks import measured
from dorib.report.site.rows import BoardRow
from dorib.store.files import write_text
from dorib.validation import first_problem

HISTORY_FILE = "history.jsonl"


class Change(Facts):
    """One line: what happened to one row."""

    date: datetime.date
    row: str
    """The mitigation's label."""
    change: Literal["new", "measured again", "withdrawn"]
    by: Annotated[Line, Field(min_length=1)]
    """Whoever measured it."""
    note: Line = ""
    digest: Sha256
    """Of the row's entries as they were then."""


def read_history(folder: Path) -> list[Change]:
    """All changes, the oldest first; none where there is no file.

    Raises:
        DoribError: a line is no change.
    """
    path = folder / HISTORY_FILE
    if not path.exists():
        return []
    changes = []
    try:
        lines = read_text(path).splitlines()
    except Malformed as error:
        raise DoribError(f"{path}: cannot be read ({error}); restore the file") from error
    for number, line in enumerate(lines, 1):
        try:
            changes.append(of_published(Change, line))
        except (Malformed, ValidationError) as error:
            reason = first_problem(error) if isinstance(error, ValidationError) else error
            raise DoribError(f"{path}, line {number}: {reason}; mend or remove it") from error
    return changes


def record_changes(
    folder: Path, rows: Sequence[BoardRow], by: str, date: datetime.date, note: str = ""
) -> list[Change]:
    """Append a line for each row that is new, other than recorded, or gone; gives these.

    Raises:
        DoribError: the file is damaged, or `by` or `note` is more than a line.
    """
    try:
        signed = Change(date=date, row="", change="new", by=by, note=note, digest="0" * 64)
    except ValidationError as error:
        option = error.errors()[0]["loc"][0]
        raise DoribError(f"--{option}: {first_problem(error)}; give it in one line") from error
    history = read_history(folder)
    last = {change.row: change for change in history}
    now = {row.method.label: measured(row.cells) for row in rows}
    found: list[tuple[str, Literal["new", "measured again", "withdrawn"], str]] = []
    for label, of_row in now.items():
        before = last.get(label)
        if before is None or before.change == "withdrawn":
            found.append((label, "new", of_row))
        elif before.digest != of_row:
            found.append((label, "measured again", of_row))
    found += [
        (label, "withdrawn", before.digest)
        for label, before in last.items()
        if label not in now and before.change != "withdrawn"
    ]
    new = [
        signed.model_copy(update={"row": row, "change": change, "digest": digest})
        for row, change, digest in found
    ]
    if new:
        lines = [json.dumps(change.model_dump(mode="json")) + "\n" for change in (*history, *new)]
        write_text(folder / HISTORY_FILE, "".join(lines))
    return new
