"""Parameters of a method: declared once, read by the command line, run files and fingerprints."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field

from dorib.validation import StrictModel


class Params(StrictModel):
    """Base of every method's parameters: immutable, and an unknown name is refused."""


def _rising(budgets: tuple[int, ...]) -> tuple[int, ...]:
    if budgets[0] <= 0 or any(a >= b for a, b in pairwise(budgets)):
        raise ValueError("budgets must be positive and strictly rising")
    return budgets


Budgets = Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_rising)]
"""Search work per sample, in U-Net items, strictly rising."""
