"""Weights files from outside: read whole, and opened only where they are the pinned ones."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dorib.errors import DoribError
from dorib.printable import one_line


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights, and what its user is told where it cannot be used."""

    path: Path
    sha256: str | None
    """What its bytes must hash to, in lower-case hexadecimal; None: any file will do."""
    method: str
    """Opens each message: "metric sscd"."""
    if_missing: str
    """What to do where it cannot be read."""
    if_another: str
    """What to do where it has another hash."""

    def read(self) -> tuple[bytes, str]:
        """The bytes and their sha256.

        The bytes that were hashed are the bytes that are returned, so what is run later is what
        was checked, whatever happens to the file in between.

        Raises:
            DoribError: the file cannot be read, or is another one.
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise DoribError(
                f"{self.method}: {self.path} cannot be read ({error.strerror}); {self.if_missing}"
            ) from error
        found = hashlib.sha256(content).hexdigest()
        if self.sha256 not in (None, found):
            raise DoribError(
                f"{self.method}: {self.path} has sha256 {found}, not {self.sha256}, and was not "
                f"opened; {self.if_another}"
            )
        return content, found

    def torchscript(self, device: torch.device) -> tuple[Any, str]:
        """The TorchScript module on `device`, in evaluation mode, and its file's sha256.

        Raises:
            DoribError: the file cannot be read, is another one, or is no TorchScript.
            ValueError: no hash is pinned.
        """
        if self.sha256 is None:
            # A TorchScript file is a program: none is opened before its hash has been checked.
            raise ValueError(f"{self.path}: TorchScript is opened by a pinned sha256 only")
        content, found = self.read()
        try:
            module = torch.jit.load(io.BytesIO(content), map_location=device)  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise DoribError(
                f"{self.method}: {self.path} cannot be loaded as TorchScript ({one_line(error)}); "
                "give a file that torch.jit.save wrote"
            ) from error
        return module.eval(), found
