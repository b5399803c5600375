"""JSON files that were published: what each holds as a model, read once and in one way."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from dorib.reading import parse_json, read_text

M = TypeVar("M", bound=BaseModel)


def read_published(model: type[M], path: Path) -> M:
    """A file's content as a `model`.

    Raises:
        FileNotFoundError: there is none.
        Malformed: it is no JSON; or a name stands twice, of which other readers may take the first.
        ValidationError: it is another model's.
    """
    return of_published(model, read_text(path))


def of_published(model: type[M], text: str) -> M:
    """The same of a text.

    Raises:
        Malformed, ValidationError: as above.
    """
    # The model first: it says in which field something is wrong.
    found = model.model_validate_json(text)
    parse_json(text)
    return found
