"""Files that are there as a whole or not at all, and errors of writing in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from dorib.errors import DoribError


def write_json(path: Path, content: Any) -> None:
    """Write a JSON value, whole or not at all.

    Raises:
        OSError: the disk is full or not writable.
    """
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def named_write_errors(folder: Path) -> Iterator[None]:
    """Around whatever writes below `folder`.

    Raises:
        DoribError: the disk is full or not writable.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise DoribError(
            f"{folder}: cannot be written ({getattr(error, 'strerror', None) or error}); "
            "free some space or choose another --out"
        ) from error
