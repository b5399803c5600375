"""Records: one measured value each, or the error that came in its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import ValidationError, model_validator

from dorib.contracts.methods import Level
from dorib.errors import DoribError
from dorib.reading import Malformed, read_text
from dorib.validation import StrictModel, first_problem

LARGEST = 1 << 32
"""Bytes of a file of records."""


class Record(StrictModel):
    """One line of a records file.

    Records hold no time of day and no wall time, so that the same plan on the same machine
    writes the same bytes.
    """

    mitigation: str
    """The mitigation's label, as typed on the command line."""
    attack: str | None
    """The attack's label; None for utility prompts, which nobody attacks."""
    budget: int
    """Search work allowed per sample, in U-Net items; 0 where nothing is searched."""
    role: Literal["memorized", "control", "utility"]
    sample: str | None
    """The sample's id; for utility prompts `utility-<number>`; None where the value speaks of all
    samples of the role together."""
    cluster: str | None
    """The source photograph; for utility prompts the prompt itself; None where `sample` is."""
    seed: int | None
    """The evaluation seed; None where the value speaks of the sample as a whole."""
    metric: str
    """A quantity's name; for an error that spared no quantity the metric plugin's name."""
    value: float | None
    error: str | None = None
    unit: str | None = None
    """None beside an error."""
    direction: Literal["lower is better", "higher is better", "neither"] | None = None
    level: Level | None = None
    judge: str | None = None
    """The label of the metric that gave it: its stack stands under this name in the entry."""
    stack: str | None = None
    """sha256 of that stack as canonical JSON: values are comparable within one stack only."""

    @model_validator(mode="after")
    def _value_or_error(self) -> Record:
        if (self.value is None) == (self.error is None):
            raise ValueError("a record holds a value or an error, and not both")
        return self


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records as JSON lines."""
    lines = (record.model_dump_json() + "\n" for record in records)
    path.write_text("".join(lines), encoding="utf-8")


def read_records(path: Path) -> Iterator[Record]:
    """Read the records of one file.

    Raises:
        DoribError: the file cannot be read, or a line is no record; names file and row.
    """
    yield from parse_records(_text(path), str(path))


def parse_records(text: str, where: str) -> Iterator[Record]:
    """The records of a file's text, which was read from `where`.

    Raises:
        DoribError: a line is no record.
    """
    # Not splitlines: a cluster may hold other characters that it takes for line ends.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line:
            continue
        try:
            yield Record.model_validate_json(line)
        except ValidationError as error:
            raise DoribError(
                f"{where}, row {number}: not a record ({first_problem(error)}); "
                "delete the file and run again"
            ) from error


def _text(path: Path) -> str:
    try:
        return read_text(path, LARGEST)
    except Malformed as error:
        raise DoribError(
            f"{path}: not readable ({error}); delete the file and run again"
        ) from error
