"""The comparison of two sides: cell by cell, paired by sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from dorib.errors import DoribError
from dorib.ranking.checks.incomparable import incomparable_boards, incomparable_cells
from dorib.ranking.comparisons import BOOTSTRAP_SEED
from dorib.ranking.entries import Entry
from dorib.ranking.estimates.paired import PairedOutcomes, paired_outcomes
from dorib.ranking.leaderboard import entry_file
from dorib.ranking.outcomes import Role
from dorib.ranking.rates import Count, Facts, UtilityShare
from dorib.report.compare.differences import Difference, differences
from dorib.report.compare.samples import ROLES
from dorib.report.compare.sides import Side, open_side

LARGEST: Literal["largest"] = "largest"
"""In a budget's place where one of two attacks searches and the other does not."""


class PairedSample(Facts):
    """One sample in both cells."""

    id: str
    role: Role
    cluster: str
    first_broken_at: Count | None
    """The smallest budget within which it is broken; None where none breaks it."""
    second_broken_at: Count | None


class AtBudget(Facts):
    """Both cells within one budget."""

    budget: Count | Literal["largest"]
    memorized: PairedOutcomes
    controls: PairedOutcomes | None
    """None where the two share no control."""


class CellSide(Facts):
    """One of the two cells."""

    mitigation: str
    attack: str
    entry: str
    """Its entry's file."""
    utility: UtilityShare | None
    errors: Count
    """Samples and prompts with an error or without a value; such a sample counts as not broken."""


class PairedCell(Facts):
    """One cell of each side."""

    first: CellSide
    second: CellSide
    within: tuple[AtBudget, ...] = Field(min_length=1)
    """By rising budget."""
    samples: tuple[PairedSample, ...]
    unpaired: Count
    """Samples that one side alone has, memorized or controls; they are in no number."""
    differences: tuple[Difference, ...]
    """Those that not all cells of the comparison share."""


class LeftOut(Facts):
    """A cell of both sides that cannot be compared."""

    mitigation: str
    attack: str
    reason: str


class Comparison(Facts):
    """Two sides, cell by cell."""

    schema_version: Literal[1] = 1
    first: str
    """As it was named."""
    second: str
    differences: tuple[Difference, ...]
    """Those that all cells share."""
    cells: tuple[PairedCell, ...]
    left_out: tuple[LeftOut, ...]
    first_alone: tuple[str, ...]
    """Cells of the first side that the second has not, by the labels of both methods."""
    second_alone: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """A comparison with what it was made from."""

    first: Side
    second: Side
    comparison: Comparison
    entries: tuple[tuple[Entry, Entry], ...]
    """Of each of its cells."""


def compare(first: str, second: str) -> Compared:
    """Compare two runs, rows or entries, each named as `open_side` takes it.

    Sides of one mitigation each are paired by attack, single entries as they are, others by
    mitigation and attack.

    Raises:
        DoribError: a side cannot be read, or the two cannot be compared; gives the reason.
    """
    one, other = open_side(first), open_side(second)
    problem = incomparable_boards(one.entries[0], other.entries[0])
    if problem:
        raise _refused(problem)
    pairs = list(_pairs(one, other))
    if not pairs:
        raise _refused(_nothing_shared(one, other))
    cells, kept, left_out = [], [], []
    for pair in pairs:
        if one.file(pair[0]) == other.file(pair[1]):
            raise _refused(f"{one.file(pair[0])} is on both sides")
        reason = incomparable_cells(*pair)
        if reason is None:
            cells.append(_paired(one, other, *pair))
            kept.append(pair)
        else:
            labels = pair[1].mitigation.label, pair[1].attack.label
            left_out.append(LeftOut(mitigation=labels[0], attack=labels[1], reason=reason))
    if not cells:
        raise _refused(left_out[0].reason)
    shared = [d for d in cells[0].differences if all(d in cell.differences for cell in cells)]
    comparison = Comparison(
        first=first,
        second=second,
        differences=tuple(shared),
        cells=tuple(
            cell.model_copy(
                update={"differences": tuple(d for d in cell.differences if d not in shared)}
            )
            for cell in cells
        ),
        left_out=tuple(left_out),
        first_alone=_alone(one.entries, [pair[0] for pair in pairs]),
        second_alone=_alone(other.entries, [pair[1] for pair in pairs]),
    )
    return Compared(one, other, comparison, tuple(kept))


def _refused(reason: str) -> DoribError:
    return DoribError(f"A and B cannot be compared: {reason}")


def _pairs(one: Side, other: Side) -> Iterator[tuple[Entry, Entry]]:
    if len(one.entries) == len(other.entries) == 1:
        yield one.entries[0], other.entries[0]
        return
    one_row = len(one.mitigations) == len(other.mitigations) == 1
    for entry in one.entries:
        for rival in other.entries:
            if entry.attack.label == rival.attack.label and (
                one_row or entry.mitigation.label == rival.mitigation.label
            ):
                yield entry, rival


def _alone(entries: Sequence[Entry], paired: Sequence[Entry]) -> tuple[str, ...]:
    files = {entry_file(entry) for entry in paired}
    return tuple(
        f"{entry.mitigation.label} x {entry.attack.label}"
        for entry in entries
        if entry_file(entry) not in files
    )


def _nothing_shared(one: Side, other: Side) -> str:
    def attacks(side: Side) -> str:
        return ", ".join(dict.fromkeys(entry.attack.label for entry in side.entries))

    if len(one.mitigations) == len(other.mitigations) == 1:
        return f"no attack is in both: {attacks(one)} in A and {attacks(other)} in B"
    both = [", ".join(sorted(side.mitigations)) for side in (one, other)]
    return (
        f"no mitigation under the same attack is in both: {both[0]} in A and {both[1]} in B; "
        "name a row of each, FOLDER#MITIGATION"
    )


def _paired(one: Side, other: Side, first: Entry, second: Entry) -> PairedCell:
    within: dict[int | Literal["largest"], dict[Role, PairedOutcomes]] = {}
    samples: list[PairedSample] = []
    unpaired = 0
    for role in ROLES:
        hits = one.samples.broken(first, role), other.samples.broken(second, role)
        clusters = one.samples.clusters[role]
        shared = [sample for sample in hits[0] if sample in hits[1]]
        unpaired += len(hits[0]) + len(hits[1]) - 2 * len(shared)
        if not shared and role == "memorized":
            raise _refused(
                f"no sample is in both: {_named(list(hits[0]))} in A and {_named(list(hits[1]))} "
                "in B"
            )
        for sample in shared:
            samples.append(
                PairedSample(
                    id=sample,
                    role=role,
                    cluster=clusters[sample],
                    first_broken_at=_broken_at(first, hits[0][sample]),
                    second_broken_at=_broken_at(second, hits[1][sample]),
                )
            )
        for budget, place in _places(first, second) if shared else ():
            within.setdefault(budget, {})[role] = paired_outcomes(
                [hits[0][sample][place] for sample in shared],
                [hits[1][sample][place] for sample in shared],
                [clusters[sample] for sample in shared],
                np.random.default_rng(BOOTSTRAP_SEED),
            )
    return PairedCell(
        first=_side(one, first),
        second=_side(other, second),
        within=tuple(
            AtBudget(budget=budget, memorized=of["memorized"], controls=of.get("control"))
            for budget, of in within.items()
        ),
        samples=tuple(samples),
        unpaired=unpaired,
        differences=differences(first, second),
    )


def _places(first: Entry, second: Entry) -> list[tuple[int | Literal["largest"], int]]:
    """Budgets at which both stand, and their places in the curves."""
    budgets = [point.budget for point in first.curve]
    if budgets == [point.budget for point in second.curve]:
        return [(budget, number) for number, budget in enumerate(budgets)]
    return [(LARGEST, -1)]


def _broken_at(entry: Entry, hits: Sequence[bool]) -> int | None:
    return next((point.budget for point, hit in zip(entry.curve, hits, strict=True) if hit), None)


def _side(side: Side, entry: Entry) -> CellSide:
    return CellSide(
        mitigation=entry.mitigation.label,
        attack=entry.attack.label,
        entry=side.file(entry),
        utility=entry.utility,
        errors=entry.errors,
    )


def _named(samples: Sequence[str]) -> str:
    more = f" and {len(samples) - 3} more" if len(samples) > 3 else ""
    return ", ".join(samples[:3]) + more
