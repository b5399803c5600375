"""What tuning finds, as it is written to JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from dorib import DoribError, MethodSpec, StrictModel, write_text

NUMBERS = "choices.json"


class Point(StrictModel):
    """A mitigation at one setting, on the samples that settings are chosen on."""

    method: str
    """As it is typed."""
    rate: float | None
    """Share of the memorized samples that come back from their captions, by the first judge."""
    rate_by_both: float | None
    """Share of those of which both judges call one and the same image a copy; None without a second
    judge."""
    utility: float | None
    utility_by_kind: dict[str, float]
    """Of each kind of utility prompts, where the suite tells kinds apart."""
    fit_items: int
    """U-Net items of the fit."""
    fit_seconds: float | None
    """Of the last run that fitted it; None where that is not known."""
    errors: int

    @property
    def spec(self) -> MethodSpec:
        """The mitigation."""
        return MethodSpec.parse(self.method)

    @property
    def worst_kind(self) -> tuple[str, float] | None:
        """The kind of utility prompts that suffers most, with its utility."""
        kinds = self.utility_by_kind.items()
        return min(kinds, key=lambda kind: kind[1], default=None)


class Tuned(StrictModel):
    """One mitigation at all points of its grid."""

    source: str
    points: tuple[Point, ...]
    """The weakest first."""
    chosen: str | None
    """One of the points' `method`; None where no point has a rate."""
    reason: str


class Choices(StrictModel):
    """Everything that was tuned on one suite's split."""

    schema_version: Literal[1] = 1
    suite: str
    version: str
    suite_digest: str
    split: str
    samples: int
    """Memorized ones."""
    images: int
    """Of each."""
    rule: str
    methods: dict[str, Tuned] = Field(default_factory=dict)


def read_choices(folder: Path) -> Choices | None:
    """What was tuned before; None where nothing was.

    Raises:
        DoribError: the file cannot be read.
    """
    path = folder / NUMBERS
    try:
        return Choices.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        raise DoribError(f"{path}: not readable; remove it, or name another --out") from error


def write_choices(folder: Path, choices: Choices) -> None:
    """Write them, whole or not at all."""
    write_text(folder / NUMBERS, choices.model_dump_json(indent=1) + "\n")
