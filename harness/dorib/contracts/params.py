"""Parameters of a method: declared once, read by the command line, run files and fingerprints."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializationInfo,
    WithJsonSchema,
)

from dorib.errors import DoribError
from dorib.store.fingerprint import file_digest, folder_digest, model_digest
from dorib.validation import StrictModel

NAMES_ONLY = "names only"
"""In the context of a serialization: files and folders are told by their names alone."""


Scope: TypeAlias = Literal["global", "per_sample"]
"""Whether one edit serves all prompts, or each memorized sample has its own."""


class Params(StrictModel):
    """Base of every method's parameters: immutable, and an unknown name is refused."""


def _rising(budgets: tuple[int, ...]) -> tuple[int, ...]:
    if budgets[0] <= 0 or any(a >= b for a, b in pairwise(budgets)):
        raise ValueError("budgets must be positive and strictly rising")
    return budgets


Budgets = Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_rising)]
"""Search work per sample, in U-Net items, strictly rising."""


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path}: there is no home folder; give the whole path") from error


def _file_by_content(path: Path, info: SerializationInfo) -> Any:
    if _names_only(info):
        return path.name
    if not path.is_file():
        raise DoribError(f"{path}: no such file; give the path of one")
    return {"name": path.name, "sha256": file_digest(path)}


def _folder_by_content(path: Path, info: SerializationInfo) -> Any:
    if _names_only(info):
        return path.name
    if not path.is_dir():
        raise DoribError(f"{path}: no such folder; give the path of one")
    return {"name": path.name, "sha256": folder_digest(path)}


def _names_only(info: SerializationInfo) -> bool:
    return bool(info.context and info.context.get(NAMES_ONLY))


FileParam = Annotated[
    Path,
    AfterValidator(_at_home),
    PlainSerializer(_file_by_content, when_used="json"),
    WithJsonSchema({"type": "string", "format": "file"}),
]
"""The type of a parameter that names a file: a `Path`; the file is read before the run starts.

Results depend on the file's name and content, not on where it lies, and labels show its name.
"""

FolderParam = Annotated[
    Path,
    AfterValidator(_at_home),
    PlainSerializer(_folder_by_content, when_used="json"),
    WithJsonSchema({"type": "string", "format": "folder"}),
]
"""The type of a parameter that names a folder; as `FileParam`, the content being that of all files
below it, by relative name."""


def _existing(path: Path) -> Path:
    found = _at_home(path)
    if not (found.is_file() or found.is_dir()):
        raise ValueError(f"{found} is neither file nor folder")
    return found


def _path_by_content(path: Path, info: SerializationInfo) -> Any:
    # Of `.` or `..` the name of the folder that it stands for.
    name = path.name if path.name not in ("", "..") else path.resolve().name
    if _names_only(info):
        return name
    return {"name": name, "sha256": model_digest(path) if path.is_dir() else file_digest(path)}


def _not_empty(value: Any) -> Any:
    if value == "":
        raise ValueError("is empty; give a path")
    return value


PathParam = Annotated[
    Path,
    BeforeValidator(_not_empty),
    AfterValidator(_existing),
    PlainSerializer(_path_by_content, when_used="json"),
    WithJsonSchema({"type": "string", "format": "file or folder"}),
]
"""The type of a parameter that names a file, or a folder with a model's card left out; the rest as
in `FileParam`."""


def _named(value: Any) -> Any:
    if value == "":
        raise ValueError("is empty; give a folder or a hub id")
    return value


def _existing_folder(path: Path) -> Path:
    found = _at_home(path)
    if not found.is_dir():
        raise ValueError(f"{found} is no folder")
    return found


def _model_by_content(path: Path, info: SerializationInfo) -> Any:
    if _names_only(info):
        return path.name
    return {"name": path.name, "sha256": model_digest(path)}


_ModelFolder = Annotated[
    Path,
    AfterValidator(_existing_folder),
    PlainSerializer(_model_by_content, when_used="json"),
    WithJsonSchema({"type": "string", "format": "folder"}),
]

ModelParam = Annotated[
    Annotated[_ModelFolder | str, Field(union_mode="left_to_right")], BeforeValidator(_named)
]
"""The type of a parameter that names a model: a folder as in `FolderParam`, its card left out, or,
where there is no such folder, a hub id."""
