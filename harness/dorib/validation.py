"""Content from outside as checked models, and what is wrong with it in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from dorib.errors import DoribError
from dorib.printable import one_line
from dorib.reprs import own_fields


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
    try:
        return model.model_validate(content)
    except ValidationError as error:
        known = ", ".join(model.model_fields) or "there are none"
        problem = f"{first_problem(error)}{_meant(error, model)}"
        raise DoribError(f"{where}: {problem}; mend it ({names}: {known})") from error


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
    return f"'{one_line(field, 80)}': {one_line(message, 200)}"


_IN_PLAIN_WORDS = {"extra_forbidden": "there is no such name", "missing": "is missing"}
