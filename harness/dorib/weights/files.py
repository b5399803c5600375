"""One safetensors file, looked into before it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from dorib.errors import DoribError
from dorib.printable import one_line

SUFFIX = ".safetensors"
UNREADABLE = (OSError, SafetensorError, ValueError, RuntimeError, TypeError, OverflowError)
"""What comes of a file that holds no tensors: torch's errors too, where a shape is impossible."""


@dataclass(frozen=True)
class TensorFile:
    """A safetensors file: what it holds, told without its values."""

    path: Path
    what: str
    """How messages call it."""
    names: tuple[str, ...]
    """Of its tensors."""
    metadata: Mapping[str, str]
    """What its writer noted."""

    @classmethod
    def open(cls, path: Path, what: str) -> Self:
        """Look into a file.

        Raises:
            DoribError: it is missing, no plain file, or cannot be read as safetensors. No other
                form is read: a pickle is a program.
        """
        if not path.is_file():
            raise DoribError(f"{what}: {path} is no file; give the path of one")
        if path.suffix != SUFFIX:
            raise DoribError(f"{what}: is no {SUFFIX} file; weights are read from those alone")
        try:
            with safe_open(path, framework="pt") as held:
                return cls(path, what, tuple(held.keys()), held.metadata() or {})
        except UNREADABLE as error:
            raise _unreadable(what, path, error) from error

    def read(self) -> dict[str, Tensor]:
        """Its tensors by name, on the CPU, in the number formats that they have there.

        Raises:
            DoribError: the file cannot be read any more.
        """
        try:
            tensors: dict[str, Tensor] = load_file(self.path)
        except UNREADABLE as error:
            raise _unreadable(self.what, self.path, error) from error
        return tensors


def _unreadable(what: str, path: Path, error: Exception) -> DoribError:
    return DoribError(
        f"{what}: {path} cannot be read as safetensors ({one_line(error, 200)}); restore the file"
    )
