"""`manifest.json` of fetched data: hashes of what is there, and why the rest is not.

It holds no time of day: the same state of the network gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from dorib.reading import Malformed, parse_json, read_text
from dorib.store.files import write_text
from dorib.suites.fetch.sources import MANIFEST
from dorib.validation import StrictModel


class FileEntry(StrictModel):
    """A pinned file, or one that the user handed in (without a `url`)."""

    path: str
    """Relative to the cache."""
    sha256: str
    url: str | None = None


class OriginalEntry(StrictModel):
    """A fetched original."""

    url: str
    path: str
    """Relative to the data's folder."""
    sha256: str
    width: int
    height: int
    samples: tuple[str, ...]
    """The samples it is an original of."""


class MissingEntry(StrictModel):
    """An original that could not be had."""

    url: str
    samples: tuple[str, ...]
    reason: str


class FetchManifest(StrictModel):
    """What a fetch has left."""

    schema_version: int = 1
    name: str
    files: tuple[FileEntry, ...] = ()
    originals: tuple[OriginalEntry, ...] = ()
    missing: tuple[MissingEntry, ...] = ()
    hub: tuple[str, ...] = ()
    """Ids that were fetched, each with the commit it stood at: `owner/name@commit`."""


def read_manifest(folder: Path) -> FetchManifest | None:
    """The manifest in `folder`; None where there is none, or one that cannot be read.

    It is made anew from the files themselves, so that a damaged one costs no download.
    """
    try:
        return FetchManifest.model_validate(parse_json(read_text(folder / MANIFEST)))
    except (FileNotFoundError, Malformed, ValidationError):
        return None


def write_manifest(folder: Path, manifest: FetchManifest) -> Path:
    """Write the manifest, whole or not at all."""
    path = folder / MANIFEST
    write_text(path, manifest.model_dump_json(indent=2) + "\n")
    return path
