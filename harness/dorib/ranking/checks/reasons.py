"""Why a cell is shown and not ranked: a function of what stands in its entry."""

from __future__ import annotations

from collections.abc import Iterator

from dorib.ranking.rates import Interval, Rate, UtilityShare

UTILITY_THRESHOLD = 0.8
"""Rows below are shown but not ranked: a model that draws nothing replicates nothing."""

REFERENCE_LINE = "a reference line"
NO_REPLICATION = "no metric tells of replication"
NO_COMPARISON = "neither an oracle nor controls to compare with"
NO_UTILITY = "utility not measured"


def not_attacked(attack: str) -> str:
    """A row lacks a required attack, by its label."""
    return f"not attacked by {attack}"


def reasons_not_ranked(
    *,
    reference_line: bool,
    not_applicable: str | None,
    memorization_rate: Rate | None,
    oracle_rate: Rate | None,
    erasure_gap: Interval | None,
    utility: UtilityShare | None,
    errors: int,
    prompts_without_reference: int,
) -> Iterator[str]:
    """Each reason there is, in a fixed order; none where the cell is ranked."""
    if reference_line:
        yield REFERENCE_LINE
    if not_applicable is not None:
        yield f"not applicable: {not_applicable}"
    elif memorization_rate is None:
        yield NO_REPLICATION
    elif erasure_gap is None:
        yield NO_COMPARISON
    if errors:
        yield f"errors: {errors} samples or prompts lack a value"
    if oracle_rate and oracle_rate.errors:
        yield f"errors: {oracle_rate.errors} of the oracle's samples lack a value"
    if prompts_without_reference:
        yield f"errors: {prompts_without_reference} prompts lack the unmitigated model's value"
    if utility is None:
        yield NO_UTILITY
    elif utility.value < UTILITY_THRESHOLD:
        shown = _below(utility.value, UTILITY_THRESHOLD)
        yield f"utility {shown} is below {UTILITY_THRESHOLD}"


def _below(value: float, threshold: float) -> str:
    """`value` with two digits, or as many as it takes not to be rounded up to the threshold."""
    digits = 2
    while float(f"{value:.{digits}f}") >= threshold:
        digits += 1
    return f"{value:.{digits}f}"
