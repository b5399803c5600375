"""Cohen's kappa: agreement of two judges beyond chance.

Educational and Psychological Measurement 20, 1960.
"""

from __future__ import annotations

from collections.abc import Sequence


def cohens_kappa(first: Sequence[bool], second: Sequence[bool]) -> float | None:
    """Agreement of two judges beyond chance, at most 1; None where it is not defined.

    It is not where both give all items one and the same verdict, or where there are none.

    Raises:
        ValueError: the judges saw different numbers of items.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} verdicts cannot be compared")
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True))
    # Times n * n, in whole numbers, so that certain agreement by chance is recognised exactly.
    by_chance = sum(first) * sum(second) + (n - sum(first)) * (n - sum(second))
    if by_chance == n * n:
        return None
    return (n * observed - by_chance) / (n * n - by_chance)
