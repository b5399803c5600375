"""Fingerprints: what a result depends on, as digests."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dorib.errors import DoribError

SHOWN_LIBRARIES = ("torch", "diffusers", "transformers")
"""What an entry's environment names."""

DECIDING_LIBRARIES = (
    *SHOWN_LIBRARIES,
    "accelerate",
    "numpy",
    "pillow",
    "safetensors",
    "scipy",
    "tokenizers",
    "torchmetrics",
)
"""All that any number is computed by, directly or below another of them."""


def digest(content: Any) -> str:
    """sha256 of a JSON value in canonical form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def method_slug(name: str, label: str, params: Mapping[str, Any]) -> str:
    """A method as part of a file name: its name, and a digest of `params` where `label` has any."""
    return name if label == name else f"{name}-{digest(params)[:8]}"


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes; of a link those of the file that it leads to.

    Raises:
        DoribError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DoribError(f"{path}: cannot be read ({error.strerror}); restore the file") from error


def folder_digest(folder: Path) -> str:
    """Digest of all files below `folder`, by relative name and content; links are followed.

    Raises:
        DoribError: a file cannot be read, or a link leads back to a folder above it.
    """
    return digest({name: file_digest(folder / name) for name in files_below(folder)})


def model_digest(folder: Path) -> str:
    """`folder_digest` of a model, without what is there for readers.

    That is its card and other text in Markdown, and hidden files, which the hub's tools leave.
    """
    names = (
        name
        for name in files_below(folder)
        if not name.lower().endswith(".md") and not any(p.startswith(".") for p in name.split("/"))
    )
    return digest({name: file_digest(folder / name) for name in names})


def library_versions() -> dict[str, str]:
    """Versions of the libraries that an entry names."""
    return _versions(SHOWN_LIBRARIES)


@cache
def deciding_versions() -> dict[str, str]:
    """Versions of Python and of every library that decides a number."""
    return {"python": platform.python_version(), **_versions(DECIDING_LIBRARIES)}


def _versions(names: Iterable[str]) -> dict[str, str]:
    return {name: _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def files_below(folder: Path) -> list[str]:
    """Files by place below the folder, in order; links are followed.

    What is neither file nor folder is left out.

    Raises:
        DoribError: the folder cannot be read, or a link leads back to a folder above it.
    """
    try:
        return sorted(_walk(folder, "", (folder.resolve(),)))
    except OSError as error:
        raise DoribError(f"{folder}: cannot be read ({error.strerror}); restore it") from error


def _walk(folder: Path, place: str, above: tuple[Path, ...]) -> Iterator[str]:
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        name = place + entry.name
        if entry.is_file():
            yield name
        elif entry.is_dir():
            inner = Path(entry.path).resolve()
            if inner in above:
                raise DoribError(f"{entry.path}: leads back to {inner}; remove the link")
            yield from _walk(Path(entry.path), f"{name}/", (*above, inner))
