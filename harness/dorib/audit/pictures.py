"""A user's pictures with their captions, each checked before any work."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dorib.errors import DoribError
from dorib.printable import shortened
from dorib.store.fingerprint import file_digest
from dorib.suites.images import read_image
from dorib.suites.manifest import SAMPLE_ID, Orientation
from dorib.suites.prompt_tables import read_rows
from dorib.suites.prompt_tables.columns import fields_of
from dorib.suites.prompt_tables.samples import METADATA, SUFFIXES

LONGEST_ID = 64
MOST_CROPPED = 0.5
"""Share of a picture: where more is cut off, what is left is another picture."""


@dataclass(frozen=True)
class Picture:
    """A picture on this machine, and the caption that it is thought to have been trained with."""

    id: str
    caption: str
    path: Path

    @cached_property
    def digest(self) -> str:
        """Of the file's bytes."""
        return file_digest(self.path)


def read_pictures(
    folder: Path,
    captions: Path | None,
    size: tuple[int, int],
    orientation: Orientation = "apply",
) -> tuple[Picture, ...]:
    """The pictures of a folder with their captions, in the order of the table.

    Args:
        folder: holds the pictures, PNG, JPEG or WebP; what else lies in it is passed over.
        captions: a JSONL or CSV with `file_name` and `caption`; None for `metadata.jsonl` in the
            folder.
        size: height and width of what the model draws, in pixels.
        orientation: how the pictures are read.

    Raises:
        DoribError: there is no picture; a picture has no caption, a caption no picture, or either
            two; two would have the same name; a picture cannot be read, is smaller than what the
            model draws, or of quite another shape.
    """
    if not folder.is_dir():
        raise DoribError(f"{folder}: no such folder; give the one that holds the pictures")
    table = captions or folder / METADATA
    if not table.exists():
        raise DoribError(
            f"{table}: missing; give a .jsonl or .csv with a file_name and a caption for each "
            "picture"
        )
    files = sorted(path for path in folder.iterdir() if path.suffix.casefold() in SUFFIXES)
    if not files:
        raise DoribError(f"{folder}: no picture in it; give PNG, JPEG or WebP files")
    there = {path.name: path for path in files}
    found: dict[str, Picture] = {}
    for number, row in read_rows(table):
        where = f"{table}, row {number}"
        picture = _picture(fields_of(row, number, where, ()), there, folder, where, number)
        if picture.path.name in found:
            raise DoribError(
                f"{where}: {shortened(picture.path.name)} has a caption already; give each picture "
                "one, and once"
            )
        found[picture.path.name] = picture
    for name in there:
        if name not in found:
            raise DoribError(
                f"{folder / name}: has no caption in {table}; add its row, or take the picture out"
            )
    _refuse_same_names([*found.values()])
    for picture in found.values():
        _refuse_unfit(picture.path, size, orientation)
    return tuple(found.values())


def _picture(
    fields: dict[str, Any], there: dict[str, Path], folder: Path, where: str, number: int
) -> Picture:
    names = fields.get("images", ())
    if len(names) != 1:
        raise DoribError(f"{where}: names {len(names)} pictures; give one as file_name")
    path = there.get(names[0])
    if path is None:
        raise DoribError(
            f"{where}: no picture {shortened(names[0])} in {folder}; add it, or take the row out"
        )
    own = fields["id"]
    return Picture(_id(path.stem) if own == f"row-{number}" else own, fields["caption"], path)


def _id(stem: str) -> str:
    """A file's name as a sample may be called."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-")
    return plain[:LONGEST_ID] or "picture"


def _refuse_same_names(pictures: Sequence[Picture]) -> None:
    by_name: dict[str, Picture] = {}
    for picture in pictures:
        if not SAMPLE_ID.fullmatch(picture.id):
            raise DoribError(
                f"{picture.path}: id {shortened(picture.id)} is none; use 1 to {LONGEST_ID} "
                "letters, digits, '.', '_' or '-'"
            )
        # Ids become file names, and some file systems do not tell letters' case apart.
        first = by_name.setdefault(picture.id.casefold(), picture)
        if first is not picture:
            raise DoribError(
                f"{picture.path}: would be called {picture.id} as {first.path.name} is; rename one"
            )


def _refuse_unfit(path: Path, size: tuple[int, int], orientation: Orientation) -> None:
    if not path.is_file():
        raise DoribError(f"{path}: no regular file; give a picture")
    height, width = size
    _, own_height, own_width = read_image(path, orientation=orientation).shape
    is_of = f"{path}: {own_height} x {own_width} pixels (height x width)"
    if own_height < height or own_width < width:
        raise DoribError(f"{is_of}, and the model draws {height} x {width}; give a larger one")
    ratio = (own_height * width) / (own_width * height)
    if min(ratio, 1 / ratio) < 1 - MOST_CROPPED:
        raise DoribError(
            f"{is_of}: more than half would be cut off, as the model draws {height} x {width}; "
            "crop it as it was trained on"
        )
