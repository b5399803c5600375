"""Tables of a suite with a JSON object a line, and the prompts in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dorib.errors import DoribError
from dorib.suites.prompt_tables import read_rows


def read_jsonl(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Rows with their numbers, counted from 1.

    Raises:
        DoribError: the file cannot be read, a row is wrong (named by its number), or there is none.
    """
    try:
        # Not splitlines: a caption may hold other characters that it takes for line ends.
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise DoribError(f"{path}: missing; restore it, or name another in suite.yaml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DoribError(f"{path}: not readable ({error}); write it as UTF-8 JSONL") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DoribError(f"{path}, row {number}: not JSON ({error}); mend the row") from error
        if not isinstance(row, dict):
            raise DoribError(f"{path}, row {number}: not a JSON object; mend the row")
        rows.append((number, row))
    if not rows:
        raise DoribError(f"{path}: empty; it needs at least one row")
    return rows


@dataclass(frozen=True)
class Prompt:
    """A prompt of no sample."""

    caption: str
    kind: str | None = None
    """What it asks for, where a suite tells kinds apart: utility is then reported for each."""


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """The prompts of a JSONL table, or of a published CSV.

    Raises:
        DoribError: as `read_jsonl`, a row has no caption, or its kind is no text.
    """
    prompts = []
    published = path.suffix == ".csv"
    for number, row in read_rows(path) if published else read_jsonl(path):
        caption = row.get("Caption" if published else "caption")
        if not isinstance(caption, str) or not caption.strip():
            raise DoribError(f"{path}, row {number}: no 'caption' in words; add one")
        kind = row.get("kind")
        if kind is not None and not (isinstance(kind, str) and kind.strip()):
            raise DoribError(f"{path}, row {number}: 'kind' is no text; name it, or leave it out")
        prompts.append(Prompt(caption, kind))
    return tuple(prompts)
