"""Whether what an entry says of its second judge agrees with the rest of it."""

from __future__ import annotations

from dorib.ranking.entry_fields import EntryFields
from dorib.ranking.rates import Rate, Verdicts, has_second_judge

FIRST_VERSION = 3
"""Of entries that state it."""


def check_second_judge(entry: EntryFields) -> None:
    """Refuse a second judge that was not there, or whose counts contradict the rates.

    Raises:
        ValueError: names the field, and what it should be.
    """
    found = entry.second_judge
    named = has_second_judge(entry.stack) and entry.memorization_rate is not None
    if (found is not None) != named or (named and entry.schema_version < FIRST_VERSION):
        raise ValueError(
            "second_judge: there just where the stack names it and samples are rated, since "
            f"version {FIRST_VERSION}"
        )
    if found is None:
        return
    for arm, rate, beside in (
        ("memorized", found.memorized, entry.memorization_rate),
        ("controls", found.controls, entry.controls_rate),
        ("oracle", found.oracle, entry.oracle_rate),
    ):
        if (rate and rate.n) != (beside and beside.n):
            raise ValueError(f"second_judge.{arm}: other samples than the first judge's")
    if (found.verdicts_on_controls is None) != (found.controls is None):
        raise ValueError("second_judge.verdicts_on_controls: there just where controls are rated")
    of_memorized = (entry.memorization_rate, found.memorized)
    of_controls = (entry.controls_rate, found.controls)
    _check_verdicts("verdicts", entry, found.verdicts, *of_memorized)
    if found.verdicts_on_controls:
        _check_verdicts("verdicts_on_controls", entry, found.verdicts_on_controls, *of_controls)
    _check_against_curve(entry, found.verdicts)
    if entry.errors < found.memorized.errors + (found.controls.errors if found.controls else 0):
        raise ValueError("errors: fewer than the samples that lack the second judge's verdict")


def _check_verdicts(
    name: str, entry: EntryFields, verdicts: Verdicts, first: Rate | None, second: Rate | None
) -> None:
    """As many images as there are, and enough and not too many copies for the samples that break.

    A sample without an error has all its images at each budget.
    """
    assert first is not None and second is not None
    of_a_sample = entry.k * len(entry.curve)
    most, least = first.n * of_a_sample, (first.n - first.errors) * of_a_sample
    images = verdicts.images
    if not least <= images <= most or (first.errors > 0) != (images < most):
        raise ValueError(
            f"second_judge.{name}: {images} images, where {first.n} samples have {most} and "
            f"{first.errors} lack some"
        )
    for judge, copies, rate in (
        ("first", verdicts.copies_to_the_first, first),
        ("second", verdicts.copies_to_the_second, second),
    ):
        if not rate.hits <= copies <= rate.hits * of_a_sample:
            raise ValueError(
                f"second_judge.{name}: {copies} images are copies to the {judge} judge, by whom "
                f"{rate.hits} samples break"
            )


def _check_against_curve(entry: EntryFields, verdicts: Verdicts) -> None:
    """The curve states the first judge's share of copies at each budget."""
    assert entry.memorization_rate is not None
    images = entry.memorization_rate.n * entry.k
    copies = round(sum((point.replication_rate or 0) * images for point in entry.curve))
    if copies != verdicts.copies_to_the_first:
        raise ValueError(
            f"second_judge.verdicts: {verdicts.copies_to_the_first} images are copies to the first "
            f"judge, where the curve has {copies}"
        )
