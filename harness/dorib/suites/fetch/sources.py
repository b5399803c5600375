"""What a suite.yaml says of the things to fetch, and where they lie in the cache.

<cache>/data/<name>/tables/<key>/<file>
                                      tables: the key is that of their content
<cache>/data/<name>/originals/<key>.* originals, named by a hash of their address
<cache>/data/<name>/controls/         images the user handed in
<cache>/data/<name>/manifest.json     hashes of all that is there, and what is missing
<cache>/<path>                        weights that several suites share
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pydantic import Field, field_validator

from dorib.errors import DoribError
from dorib.validation import StrictModel

ORIGINALS = "originals"
CONTROLS = "controls"
TABLES = "tables"
DATA = "data"
MANIFEST = "manifest.json"
SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp"}
"""File name endings by the name that Pillow gives a format; no other format is kept."""

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def cache_root() -> Path:
    """The user's cache of everything that dorib fetches.

    Raises:
        DoribError: the user has no home folder.
    """
    try:
        return Path.home() / ".cache" / "dorib"
    except RuntimeError as error:
        raise DoribError("no home folder to keep fetched files in; set HOME") from error


class FetchFile(StrictModel):
    """One file at a fixed address, pinned by its hash."""

    path: str
    """Where it is kept, relative to its folder in the cache."""
    url: str = Field(pattern=r"^https?://\S+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("path")
    @classmethod
    def _plain_path(cls, value: str) -> str:
        parts = value.split("/")
        taken = (ORIGINALS, CONTROLS, DATA)
        if not all(_PART.fullmatch(part) for part in parts) or parts[0] in taken:
            raise ValueError(
                "a path is names of letters, digits, '.', '_' or '-', with '/' between them, and "
                f"does not begin with {', '.join(taken)}"
            )
        return value


class FetchSpec(StrictModel):
    """The entry `fetch` of a suite.yaml."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    """The folder in the cache; suites that share their data give the same name."""
    files: tuple[FetchFile, ...] = ()
    """Tables: where suite.yaml names one of these paths, the fetched file is meant."""
    originals: bool = True
    """Whether the addresses in the sample table are fetched."""
    weights: tuple[FetchFile, ...] = ()
    """Weights that several suites share."""
    hub: tuple[str, ...] = ()
    """Ids on the Hugging Face hub whose configuration and safetensors are fetched."""

    @field_validator("hub")
    @classmethod
    def _hub_ids(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for identifier in value:
            parts = identifier.split("/")
            if len(parts) != 2 or not all(_PART.fullmatch(part) for part in parts):
                raise ValueError(f"{identifier!r} is no hub id; write owner/name")
        return value

    @property
    def folder(self) -> Path:
        """Where the suite's data lie."""
        return cache_root() / DATA / self.name

    def file(self, relative: str) -> FetchFile | None:
        """The one of `files` that a path of the suite means, if it means one."""
        return next((file for file in self.files if file.path == relative), None)

    def place(self, file: FetchFile) -> Path:
        """Where one of `files` lies: suites that share a folder do not share what differs."""
        return self.folder / TABLES / file.sha256[:16] / file.path


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_whole(path: Path, sha256: str) -> bool:
    """Whether the file is there and is the one that `sha256` names."""
    return path.is_file() and sha256_of(path) == sha256


def original_key(url: str) -> str:
    """The name of an original: nothing of the address itself becomes part of a path."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def stored_original(folder: Path, url: str) -> Path | None:
    """The fetched original of an address, if it is there; `folder` is the suite's in the cache."""
    key = original_key(url)
    for suffix in dict.fromkeys(SUFFIXES.values()):
        path = folder / ORIGINALS / f"{key}{suffix}"
        if path.exists():
            return path
    return None


def weights_place(file: FetchFile) -> Path:
    """Where a file of weights lies in the cache, which all suites share."""
    return cache_root() / file.path
