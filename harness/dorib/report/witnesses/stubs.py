"""What stands in the place of a witness that is too large to be published beside its entry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from dorib.errors import DoribError
from dorib.ranking.rates import Sha256
from dorib.reading import Malformed, read_text
from dorib.store.files import write_json
from dorib.validation import StrictModel, first_problem

LARGEST = 4 << 20
"""Bytes of a pack that is published beside its entry; masks and embeddings take less."""


class Stub(StrictModel):
    """A large witness by what it must be, and where it is."""

    sha256: Sha256
    bytes: int = Field(gt=0)
    hub: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+/[\w.-]+$")] | None = None
    """Owner, repository and file on the Hugging Face hub."""


def write_stub(stub: Stub, path: Path) -> None:
    """Write it as JSON.

    Raises:
        OSError: the disk is full or not writable.
    """
    write_json(path, stub.model_dump(mode="json"))


def read_stub(path: Path) -> Stub:
    """What `write_stub` wrote.

    Raises:
        DoribError: it is damaged.
        FileNotFoundError: there is none.
    """
    try:
        return Stub.model_validate_json(read_text(path))
    except Malformed as error:
        raise DoribError(f"{path}: cannot be read ({error}); restore the file") from error
    except ValidationError as error:
        raise DoribError(f"{path}: names no file ({first_problem(error)}); restore it") from error
