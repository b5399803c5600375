"""Formats from outside, each read in one place, in bounded time and memory.

YAML, JSON, JSON lines and CSV: UTF-8 with or without a byte order mark. Whatever a file holds, it
is read or refused in one line; pipes, devices and folders are refused without waiting for them.
What is read holds no text that could not be a file's name or be written again as UTF-8, no whole
number beyond 64 bits, and no name that stands twice.
"""

from __future__ import annotations

import csv
import json
import os
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml

from dorib.errors import DoribError
from dorib.printable import one_line, shortened
from dorib.yaml_reading import DEEPEST, BoundedLoader

LARGEST_YAML = 1 << 18
LARGEST_TABLE = 1 << 24
"""Bytes of a file."""
BLOCK = 1 << 20
MOST_ROWS = 100_000
"""Empty ones count."""
MOST_VALUES = 1_000_000
"""Of one JSON text."""
LONGEST_DIGITS = 20
SEPARATORS = ";,\t"

BROKEN_PICTURE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError),
    *(struct.error, zlib.error),
)
"""What Pillow raises where a picture's file is broken: it says so as it comes upon it."""

T = TypeVar("T")
Row = dict[str, Any]
Rows = list[tuple[int, Row]]
"""Rows with their numbers as a reader would count them, from 1."""


class Malformed(Exception):  # noqa: N818 - a verdict; the reader of a file names the file
    """What is wrong with a content, in a few words."""


def read_text(path: Path, largest: int = LARGEST_TABLE) -> str:
    """The text of a file of at most `largest` bytes.

    Raises:
        FileNotFoundError: there is none.
        Malformed: it is no regular file, too large, not readable or no UTF-8.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for its other end.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Malformed(error.strerror or "cannot be opened") from error
    except ValueError as error:
        raise Malformed("its name holds a character that no file's name can") from error
    content = bytearray()
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Malformed("no regular file")
        while block := os.read(handle, BLOCK):
            content += block
            if len(content) > largest:
                raise Malformed(f"more than {largest:,} bytes")
    except OSError as error:
        raise Malformed(error.strerror or "cannot be read") from error
    finally:
        os.close(handle)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Malformed(f"no UTF-8 at byte {error.start:,}") from error
    if "\0" in text:
        raise Malformed("holds a NUL character")
    return text


def read_yaml(path: Path, missing: str) -> Any:
    """The content of a YAML file; `missing` is what to say where there is none.

    Raises:
        DoribError: it is missing or cannot be read.
    """
    try:
        return parse_yaml(read_text(path, LARGEST_YAML))
    except FileNotFoundError:
        raise DoribError(f"{path}: {missing}") from None
    except Malformed as error:
        raise DoribError(f"{path}: not readable as YAML ({error}); mend the file") from error


def parse_yaml(text: str) -> Any:
    """What a YAML text says, in JSON's types.

    Raises:
        Malformed: it says nothing of the kind, or too much.
    """
    try:
        # A subclass of SafeLoader: no object but JSON's types is made.
        value = yaml.load(text, BoundedLoader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise Malformed(one_line(str(error), 160)) from error
    return within_bounds(value)


def parse_json(text: str) -> Any:
    """What a JSON text says.

    Raises:
        Malformed: it is no JSON, or beyond the bounds.
    """
    try:
        value = _JSON.decode(text)
    except RecursionError as error:
        raise Malformed(f"nested more than {DEEPEST} levels deep") from error
    except ValueError as error:
        raise Malformed(one_line(str(error), 160)) from error
    return within_bounds(value)


def read_jsonl(path: Path) -> Rows:
    """The objects of a file with one a line; empty lines count and are passed over.

    Raises:
        DoribError: it is missing, empty or cannot be read, or a row is wrong (by number).
    """
    rows: Rows = []
    # Not splitlines: a caption may hold other characters that it takes for line ends.
    for number, line in _few(path, enumerate(_table(path).split("\n"), start=1)):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except Malformed as error:
            raise DoribError(f"{path}, row {number}: not JSON ({error}); mend the row") from error
        if not isinstance(row, dict):
            raise DoribError(f"{path}, row {number}: not a JSON object; mend the row")
        rows.append((number, row))
    return filled(path, rows)


def read_lines(path: Path, column: str) -> Rows:
    """The lines of a text, each a row of one column; empty lines count and are passed over.

    Raises:
        DoribError: it is missing, empty or cannot be read, or a line is no plain text (by number).
    """
    rows: Rows = []
    for number, line in _few(path, enumerate(_table(path).split("\n"), start=1)):
        if line.strip():
            try:
                rows.append((number, within_bounds({column: line.strip()})))
            except Malformed as error:
                raise DoribError(f"{path}, row {number}: {error}; mend the row") from error
    return filled(path, rows)


def read_csv(path: Path) -> Rows:
    """The rows of a CSV, the header being row 1; its separator is told from the header.

    Raises:
        DoribError: it is missing, empty or cannot be read, a column stands twice, or a row is
            wrong (by number).
    """
    # Split at line feeds only: a caption may hold other characters that pass for line ends.
    lines = _table(path).replace("\r\n", "\n").split("\n")
    separator = max(SEPARATORS, key=lines[0].count)
    fields = _csv_fields(path, (line + "\n" for line in lines), separator)
    _, header = next(fields)
    _see_that_columns_differ(path, header)
    rows: Rows = []
    for number, row in _few(path, fields):
        if row and len(row) != len(header):
            raise DoribError(
                f"{path}, row {number}: {len(row)} fields where the header has {len(header)}; "
                "mend the row, or fetch the table anew"
            )
        if row:
            rows.append((number, dict(zip(header, row, strict=True))))
    return filled(path, rows)


def filled(path: Path, rows: Rows) -> Rows:
    """`rows` of the table at `path`.

    Raises:
        DoribError: there is none.
    """
    if not rows:
        raise DoribError(f"{path}: empty; it needs at least one row")
    return rows


def _few(path: Path, numbered: Iterable[tuple[int, T]]) -> Iterator[tuple[int, T]]:
    for number, row in numbered:
        if number > MOST_ROWS + 1:
            raise DoribError(f"{path}: more than {MOST_ROWS:,} rows; give fewer")
        yield number, row


def _table(path: Path) -> str:
    try:
        return read_text(path)
    except FileNotFoundError:
        raise DoribError(f"{path}: missing; restore it, or name another in suite.yaml") from None
    except Malformed as error:
        raise DoribError(f"{path}: not readable ({error}); write it as UTF-8") from error


def _csv_fields(
    path: Path, lines: Iterable[str], separator: str
) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, delimiter=separator, strict=True)
    number = 0
    while True:
        number += 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DoribError(
                f"{path}, row {number}: not CSV ({error}); mend the row's quotes"
            ) from error
        yield number, fields


def _see_that_columns_differ(path: Path, header: list[str]) -> None:
    seen: set[str] = set()
    for column in header:
        name = column.strip().casefold()
        # pandas writes its row numbers into a column without a name.
        if name and name in seen:
            raise DoribError(
                f"{path}, row 1: column {shortened(column)} stands twice; leave one of them out"
            )
        seen.add(name)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise Malformed(f"{shortened(twice)} stands twice")
    return found


def _whole(digits: str) -> int:
    # Python itself refuses texts of more than 4,300 digits, by another error.
    if len(digits) > LONGEST_DIGITS:
        raise Malformed(f"a whole number of {len(digits):,} digits")
    return int(digits)


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_whole)


def within_bounds(value: Any) -> Any:
    """`value` itself, once each of its parts is seen to be within the bounds.

    Raises:
        Malformed: one is not.
    """
    waiting = [(value, 1)]
    seen = 0
    while waiting:
        part, depth = waiting.pop()
        if depth > DEEPEST:
            raise Malformed(f"nested more than {DEEPEST} levels deep")
        if isinstance(part, dict | list):
            seen += len(part)
        if seen > MOST_VALUES:
            raise Malformed(f"more than {MOST_VALUES:,} values")
        if isinstance(part, str):
            _see_that_text_is_plain(part)
        elif isinstance(part, dict):
            waiting += [(inner, depth + 1) for pair in part.items() for inner in pair]
        elif isinstance(part, list):
            waiting += [(inner, depth + 1) for inner in part]
        elif isinstance(part, int) and not -(2**63) <= part < 2**64:
            raise Malformed("a whole number beyond 64 bits")
    return value


def _see_that_text_is_plain(text: str) -> None:
    if "\0" in text:
        raise Malformed(f"{shortened(text)} holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Malformed(f"{shortened(text)} holds half a character (a surrogate)") from error
