"""From a table on disk to its rows, numbered as a reader would count them.

In a CSV the header is row 1, as spreadsheets count; in a JSONL a row is a line; in a `datasets`
folder the first is row 1.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, TypeAlias

from dorib.errors import DoribError

Row: TypeAlias = dict[str, Any]
Rows: TypeAlias = list[tuple[int, Row]]

SEPARATORS = ";,\t"


def read_rows(path: Path) -> Rows:
    """The rows of a CSV, a JSONL or a `datasets` folder, at least one.

    Raises:
        DoribError: it is missing, not readable or empty, or a row is broken (by number).
    """
    if path.is_dir():
        rows = _datasets_rows(path)
    elif path.suffix == ".csv":
        rows = _csv_rows(path)
    elif path.suffix == ".jsonl":
        rows = _jsonl_rows(path)
    elif not path.exists():
        raise DoribError(f"{path}: missing; restore it, or name another in suite.yaml")
    else:
        raise DoribError(
            f"{path}: not a prompt table; give a .csv, a .jsonl or a folder that datasets saved"
        )
    if not rows:
        raise DoribError(f"{path}: empty; it needs at least one row")
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DoribError(f"{path}: missing; restore it, or name another in suite.yaml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DoribError(f"{path}: not readable ({error}); write it as UTF-8") from error


def _csv_rows(path: Path) -> Rows:
    # Split at line feeds only: a caption may hold other characters that pass for line ends.
    lines = (line + "\n" for line in _text(path).replace("\r\n", "\n").split("\n"))
    header_line = next(lines)
    separator = max(SEPARATORS, key=header_line.count)
    header = next(csv.reader([header_line], delimiter=separator))
    reader = csv.reader(lines, delimiter=separator, strict=True)
    rows: Rows = []
    number = 1
    while True:
        number += 1
        try:
            fields = next(reader)
        except StopIteration:
            return rows
        except csv.Error as error:
            raise DoribError(
                f"{path}, row {number}: not CSV ({error}); mend the row's quotes"
            ) from error
        if not fields:
            continue
        if len(fields) != len(header):
            raise DoribError(
                f"{path}, row {number}: {len(fields)} fields where the header has {len(header)}; "
                "mend the row, or fetch the table anew"
            )
        rows.append((number, dict(zip(header, fields, strict=True))))


def _jsonl_rows(path: Path) -> Rows:
    rows: Rows = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DoribError(f"{path}, row {number}: not JSON ({error}); mend the row") from error
        if not isinstance(row, dict):
            raise DoribError(f"{path}, row {number}: not a JSON object; mend the row")
        rows.append((number, row))
    return rows


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
        reason = " ".join(str(error).split())[:200]
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
    return [(number, dict(row)) for number, row in enumerate(table, start=1)]
