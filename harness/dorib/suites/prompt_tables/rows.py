"""From a table on disk to its rows, numbered as a reader would count them.

In a CSV the header is row 1, as spreadsheets count; in a JSONL or a text a row is a line; in a
`datasets` folder the first is row 1.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dorib.errors import DoribError
from dorib.printable import one_line
from dorib.reading import Malformed, Rows, filled, read_csv, read_jsonl, read_lines, within_bounds


def read_rows(path: Path) -> Rows:
    """The rows of a CSV, a JSONL, a text of prompts or a `datasets` folder, at least one.

    Raises:
        DoribError: it is missing, not readable or empty, or a row is broken (by number).
    """
    ending = path.suffix.casefold()
    # os.path, unlike pathlib, takes a name that no file can have for one that is not there.
    if os.path.isdir(path):  # noqa: PTH112
        return filled(path, _datasets_rows(path))
    if ending == ".csv":
        return read_csv(path)
    if ending == ".jsonl":
        return read_jsonl(path)
    if ending == ".txt":
        return read_lines(path, "caption")
    if not os.path.exists(path):  # noqa: PTH110
        raise DoribError(f"{path}: missing; restore it, or name another in suite.yaml")
    raise DoribError(
        f"{path}: not a prompt table; give a .csv, a .jsonl, a .txt with a prompt a line, or a "
        "folder that datasets saved"
    )


def _datasets_rows(path: Path) -> Rows:
    try:
        import datasets
    except ImportError as error:
        raise DoribError(
            f"{path}: reading a datasets folder needs datasets; install it with "
            "`pip install 'dorib[datasets]'`"
        ) from error
    # datasets raises whatever pyarrow and the file system raise, which share no base class.
    try:
        table: Any = datasets.load_from_disk(str(path))
    except Exception as error:
        reason = one_line(str(error), 160)
        raise DoribError(
            f"{path}: not readable as a datasets folder ({reason}); save it with save_to_disk"
        ) from error
    if isinstance(table, datasets.DatasetDict):
        splits = ", ".join(f"{path.name}/{name}" for name in table)
        raise DoribError(f"{path}: holds several datasets; name one of them: {splits}")
    embedded = [name for name, kind in table.features.items() if isinstance(kind, datasets.Image)]
    if embedded:
        raise DoribError(
            f"{path}: column {embedded[0]!r} holds pictures; save them as files in the suite's "
            "folder of images and keep their names in the column"
        )
    rows: Rows = []
    for number, row in enumerate(table, start=1):
        try:
            rows.append((number, within_bounds(dict(row))))
        except Malformed as error:
            raise DoribError(f"{path}, row {number}: {error}; mend the row") from error
    return rows
