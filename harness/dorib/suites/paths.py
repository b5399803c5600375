"""Paths that a suite names, as they may stand in its files."""

from __future__ import annotations

import os
from typing import Annotated, TypeAlias

from pydantic import AfterValidator

LONGEST = 1000
LONGEST_NAME = 255
"""Bytes, as file systems have it."""


def possible_path(value: str) -> str:
    """`value`, if a file could have it as its path.

    Raises:
        ValueError: it holds a character that no name can, or is too long.
    """
    try:
        names = os.fsencode(value).split(b"/")
    except UnicodeEncodeError:
        names = [b"\0"]
    if b"\0" in b"".join(names):
        raise ValueError("holds a character that no file's name can")
    if len(value) > LONGEST or max(map(len, names)) > LONGEST_NAME:
        raise ValueError(f"no file's name is this long ({len(value):,} characters)")
    return value


PossiblePath: TypeAlias = Annotated[str, AfterValidator(possible_path)]
"""A path that a file could have: whether there is one shows when it is used."""
