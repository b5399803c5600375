"""Prompts of no sample: what utility is measured on, and what a defender may use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dorib.errors import DoribError
from dorib.reading import read_csv, read_jsonl
from dorib.suites.paths import possible_path


@dataclass(frozen=True)
class Prompt:
    """A prompt of no sample."""

    caption: str
    kind: str | None = None
    """What it asks for, where a suite tells kinds apart: utility is then reported for each."""
    image: str | None = None
    """The picture it was captioned with, relative to the suite folder, where the table has one."""


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """The prompts of a JSONL table, or of a published CSV; columns in any case of letters.

    Raises:
        DoribError: the table cannot be read or is empty, a row has no caption, its kind is no
            text, or its image is no path.
    """
    prompts = []
    is_csv = path.suffix.casefold() == ".csv"
    for number, row in read_csv(path) if is_csv else read_jsonl(path):
        named = {name.casefold(): value for name, value in row.items()}
        caption = named.get("caption")
        if not isinstance(caption, str) or not caption.strip():
            raise DoribError(f"{path}, row {number}: no 'caption' in words; add one")
        kind = named.get("kind")
        if kind is not None and not (isinstance(kind, str) and kind.strip()):
            raise DoribError(f"{path}, row {number}: 'kind' is no text; name it, or leave it out")
        image = _image(named.get("image"), f"{path}, row {number}")
        prompts.append(Prompt(caption, kind, image))
    return tuple(prompts)


def _image(value: object, where: str) -> str | None:
    """A cell of a CSV may be empty where other rows have a picture."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise DoribError(f"{where}: 'image' is no path; name one picture, or leave it out")
    try:
        return possible_path(value)
    except ValueError as error:
        raise DoribError(f"{where}: 'image' {error}; name one picture, or leave it out") from error
