"""What stands in the place of a witness that is too large to be published beside its entry."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from dorib.errors import DoribError
from dorib.printable import shortened
from dorib.ranking.published import read_published
from dorib.ranking.rates import Sha256
from dorib.reading import Malformed
from dorib.store.files import write_json
from dorib.validation import StrictModel, first_problem

LARGEST = 4 << 20
"""Bytes of a pack that is published beside its entry; masks and embeddings take less."""
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_REPOSITORY = rf"{_NAME}/{_NAME}"


def check_repository(name: str) -> None:
    """Raises DoribError where `name` is none that a repository on the hub can have."""
    if not re.fullmatch(_REPOSITORY, name):
        raise DoribError(f"--hub {shortened(name)}: is no repository; give owner/name")


class Stub(StrictModel):
    """A large witness by what it must be, and where it is."""

    sha256: Sha256
    bytes: int = Field(gt=0)
    hub: Annotated[str, Field(pattern=rf"^{_REPOSITORY}/{_NAME}$")] | None = None
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
        return read_published(Stub, path)
    except Malformed as error:
        raise DoribError(f"{path}: cannot be read ({error}); restore the file") from error
    except ValidationError as error:
        raise DoribError(f"{path}: names no file ({first_problem(error)}); restore it") from error
