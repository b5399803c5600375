"""Reprs that fit a line: what a notebook or a traceback shows of an object, and no tensor dumps."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Iterator
from typing import Any

WIDTH = 100
"""Columns."""


class _Short(reprlib.Repr):
    """A tensor by dtype and shape, a long collection by its length, of a text the ends."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxtuple = self.maxlist = self.maxset = 3
        self.maxdict = 2
        self.maxstring = 40
        self.maxother = 60

    def repr_Tensor(self, tensor: Any, level: int) -> str:  # noqa: N802 - reprlib's way of naming
        """`float32[2, 3, 32, 32]`."""
        return f"{str(tensor.dtype).removeprefix('torch.')}{[*tensor.shape]}"

    repr_Parameter = repr_Tensor  # noqa: N815

    def repr_dict(self, x: Any, level: int) -> str:
        """As it is where it is short, else `{16 items}`."""
        return self._or_length(super().repr_dict(x, level), x)

    def repr_tuple(self, x: Any, level: int) -> str:
        """As it is where it is short, else `(16 items)`."""
        return self._or_length(super().repr_tuple(x, level), x)

    def repr_list(self, x: Any, level: int) -> str:
        """As it is where it is short, else `[16 items]`."""
        return self._or_length(super().repr_list(x, level), x)

    def _or_length(self, text: str, collection: Any) -> str:
        if len(text) <= self.maxother:
            return text
        return f"{text[0]}{len(collection)} items{text[-1]}"


_SHORT = _Short()


def in_one_line(name: str, /, **facts: Any) -> str:
    """`Name(fact=value, ...)` in at most `WIDTH` columns; facts that no longer fit are left out."""
    return _in_one_line(name, facts)


def own_fields(self: Any) -> str:
    """`in_one_line` of a dataclass's or pydantic model's own fields: assign it to `__repr__`."""
    return _in_one_line(type(self).__name__, dict(_fields(self)))


def _fields(self: Any) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(self):
        names = [field.name for field in dataclasses.fields(self) if field.repr]
    else:
        names = list(type(self).model_fields)
    return ((name, getattr(self, name)) for name in names)


def _in_one_line(name: str, facts: dict[str, Any]) -> str:
    line = f"{name}("
    for number, (fact, value) in enumerate(facts.items(), start=1):
        text = f"{', ' if number > 1 else ''}{fact}={' '.join(_SHORT.repr(value).split())}"
        end = ")" if number == len(facts) else ", ...)"
        if len(line) + len(text) + len(end) > WIDTH:
            return line + (", ...)" if number > 1 else "...)")
        line += text
    return line + ")"
