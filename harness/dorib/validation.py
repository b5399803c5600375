"""Content from outside as checked models, and what is wrong with it in one line."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from inspect import isclass
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from dorib.errors import DoribError
from dorib.printable import one_line, shortened
from dorib.reprs import own_fields

GREATEST_NUMBER = 2**53
"""Of whole numbers: entries state all that a run was told, in JSON."""


class StrictModel(BaseModel):
    """Base of everything that is read from outside: immutable, unknown names and NaN refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    __repr__ = own_fields


M = TypeVar("M", bound=BaseModel)


def checked(model: type[M], content: Mapping[str, Any], where: str, *, names: str = "fields") -> M:
    """`content` as a `model`.

    Args:
        model: what it must be.
        content: as parsed from YAML, JSON or the command line.
        where: opens the message: the file and row that `content` stands in.
        names: what the message calls the model's fields.

    Raises:
        DoribError: an entry is wrong; names the first one and lists the fields there are.
    """
    known = ", ".join(model.model_fields) or "there are none"
    for field in _truth_values_for_numbers(model, content):
        problem = f"'{field}': is a truth value where a number belongs"
        raise DoribError(f"{where}: {problem}; mend it ({names}: {known})")
    try:
        found = model.model_validate(content)
    except ValidationError as error:
        problem = f"{first_problem(error)}{_meant(error, model)}"
        raise DoribError(f"{where}: {problem}; mend it ({names}: {known})") from error
    for field, value in found:
        if _beyond(value):
            raise DoribError(f"{where}: '{field}': holds a number beyond 2**53; give a smaller one")
    return found


def _beyond(value: Any) -> bool:
    """Whether a whole number is in it that JSON's readers would round."""
    if isinstance(value, int):
        return abs(value) > GREATEST_NUMBER
    if isinstance(value, BaseModel):
        return any(_beyond(inner) for _, inner in value)
    if isinstance(value, Mapping):
        return any(map(_beyond, value.values()))
    return isinstance(value, list | tuple) and any(map(_beyond, value))


def _truth_values_for_numbers(model: type[BaseModel], content: Any) -> Iterator[str]:
    """The fields where `true`, and YAML's `yes`, would pass for 1."""
    if not isinstance(content, Mapping):
        return
    for name, field in model.model_fields.items():
        value = content.get(name)
        if isclass(field.annotation) and issubclass(field.annotation, BaseModel):
            within = _truth_values_for_numbers(field.annotation, value)
            yield from (f"{name}.{inner}" for inner in within)
        elif _holds_truth_value(value) and _of_numbers(field.annotation):
            yield name


def _holds_truth_value(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return any(_holds_truth_value(item) for item in value)
    return isinstance(value, bool)


def _of_numbers(annotation: Any) -> bool:
    """Whether a field takes numbers, by themselves or in lists and mappings, and nothing else."""
    inner = get_args(annotation)
    if not inner:
        return annotation in (int, float, NoneType, Ellipsis)
    match get_origin(annotation):
        case typing.Annotated:
            inner = inner[:1]
        case typing.Literal:
            return False
        case origin if isclass(origin) and issubclass(origin, Mapping):
            inner = inner[1:]
    return all(_of_numbers(one) for one in inner)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """` (did you mean wanda?)` where one of `names` is nearly `name`, else nothing."""
    near = get_close_matches(name, list(names), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _meant(error: ValidationError, model: type[BaseModel]) -> str:
    problem = error.errors()[0]
    if problem["type"] != "extra_forbidden" or len(problem["loc"]) != 1:
        return ""
    return did_you_mean(str(problem["loc"][0]), model.model_fields)


def first_problem(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, in one line."""
    problem = error.errors()[0]
    if problem["type"] == "value_error" and not problem["loc"]:
        # What speaks of several fields names them itself.
        return str(problem["ctx"]["error"])
    field = ".".join(str(part) for part in problem["loc"]) or "content"
    message = _IN_PLAIN_WORDS.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    given = f", not {shortened(problem['input'])}" if message.startswith("Input should") else ""
    return f"'{one_line(field, 80)}': {one_line(message, 200)}{given}"


_IN_PLAIN_WORDS = {"extra_forbidden": "there is no such name", "missing": "is missing"}
