"""From a table's columns to a sample's fields: the published names, and ours."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from dorib.errors import DoribError
from dorib.printable import shortened
from dorib.reading import Malformed, Row, parse_json, within_bounds

NAMES = {
    "id": ("id", "index"),
    "caption": ("caption", "prompt", "text"),
    "urls": ("urls", "url"),
    "images": ("images", "image", "file_name"),
    "kind": ("kind", "type"),
    "role": ("role",),
    "split": ("split",),
    "cluster": ("cluster",),
    "duplication": ("duplication",),
    "licence": ("licence", "license"),
    "source": ("source",),
}
"""Names of a column, whatever the case of their letters, by the field it fills."""

SCORES = ("mean_sscd", "max_sscd")
"""NeMo's scores of the unmitigated model: checked, and not used."""

KINDS = {
    "vm": "verbatim",
    "tm": "template",
    "verbatim": "verbatim",
    "template": "template",
    "unknown": "unknown",
}
ROLES = ("memorized", "control")


def fields_of(row: Row, number: int, where: str, ignore: tuple[str, ...]) -> dict[str, Any]:
    """A sample's fields from one row; those that the row leaves empty are left out.

    `id` is always there: `row-<number>` where the table gives none.

    Raises:
        DoribError: a column is unknown, stands under two names, or holds what it cannot.
    """
    fields: dict[str, Any] = {}
    for column, value in row.items():
        # pandas writes its row numbers into a column without a name.
        if column in ("", "Unnamed: 0", *ignore):
            continue
        field = _field(column)
        if field is None and column.casefold() not in SCORES:
            known = ", ".join(name for names in NAMES.values() for name in names)
            raise DoribError(
                f"{where}: there is no column {shortened(column)}; take it out or name it under "
                f"`ignore` (columns: {known})"
            )
        if _is_empty(value):
            continue
        if field is None:
            _score(value, column, where)
        elif field in fields:
            raise DoribError(f"{where}: {field} stands under two names; leave one of them out")
        else:
            fields[field] = _READERS[field](value, column, where)
    fields.setdefault("id", f"row-{number}")
    if not fields.get("caption", "").strip():
        raise DoribError(f"{where}: no caption; add one, or take the row out")
    return fields


def _field(column: str) -> str | None:
    for field, names in NAMES.items():
        if column.casefold() in names:
            return field
    return None


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", []) or (isinstance(value, float) and math.isnan(value))


def _wrong(value: Any, column: str, where: str, remedy: str) -> DoribError:
    return DoribError(f"{where}: column {shortened(column)} holds {shortened(value)}; {remedy}")


def _caption(value: Any, column: str, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(value, column, where, "give a text")
    return value


def _word(value: Any, column: str, where: str) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise _wrong(value, column, where, "give a text")
    return str(value)


def _several(value: Any, column: str, where: str) -> tuple[str, ...]:
    """A text, a list, or a list in writing as JSON or pandas puts it into a CSV."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = parse_json(value)
        except Malformed:
            try:
                value = within_bounds(ast.literal_eval(value))
            except (Malformed, ValueError, SyntaxError, RecursionError, MemoryError) as error:
                raise DoribError(
                    f"{where}: column {shortened(column)} is no list; write it as JSON"
                ) from error
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, str) and part.strip() for part in parts):
        raise _wrong(value, column, where, "give texts")
    return tuple(part.strip() for part in parts)


def _urls(value: Any, column: str, where: str) -> tuple[str, ...]:
    urls = _several(value, column, where)
    for url in urls:
        if not is_web_address(url):
            raise DoribError(
                f"{where}: column {shortened(column)}: {shortened(url)} is no http or https "
                "address; mend it"
            )
    return tuple(dict.fromkeys(urls))


def is_web_address(url: str) -> bool:
    """Whether `url` is http or https, names a host, and carries no name or password."""
    try:
        parts = urlsplit(url)
        port_is_number = parts.port is None or parts.port > 0
    except ValueError:
        return False
    named = bool(parts.hostname) and parts.username is None and parts.password is None
    return parts.scheme in ("http", "https") and named and port_is_number


def _kind(value: Any, column: str, where: str) -> str:
    kind = KINDS.get(str(value).strip().casefold())
    if kind is None:
        raise _wrong(value, column, where, "give VM (verbatim), TM (template) or unknown")
    return kind


def _role(value: Any, column: str, where: str) -> str:
    if value not in ROLES:
        raise _wrong(value, column, where, "give memorized or control")
    return str(value)


def _count(value: Any, column: str, where: str) -> int:
    try:
        count = int(str(value))
    except ValueError:
        count = -1
    if not 0 <= count < 2**63:
        raise _wrong(value, column, where, "give a whole number")
    return count


def _score(value: Any, column: str, where: str) -> None:
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.inf
    # Cosines of unit vectors, so a little beyond 1 is rounding.
    if not abs(score) < 1.001:
        remedy = "a score is a cosine between -1 and 1: mend it, or fetch the table anew"
        raise _wrong(value, column, where, remedy)


_READERS: dict[str, Callable[[Any, str, str], Any]] = {
    "id": _word,
    "caption": _caption,
    "urls": _urls,
    "images": _several,
    "kind": _kind,
    "role": _role,
    "split": _word,
    "cluster": _word,
    "duplication": _count,
    "licence": _word,
    "source": _word,
}
