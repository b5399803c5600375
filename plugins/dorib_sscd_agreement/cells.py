"""Agreement of two judges on the images of a run: by cell, and over all attacked mitigations.

Over a whole run two judges agree easily, since most of its images are plain cases: pictures of the
unmitigated model, which both call copies, and of the oracle, which neither does. Where it matters
whether they do is where a mitigation is attacked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from dorib import REPLICATES, Record, cohens_kappa

BESIDE = ("replicates_second", "replicates_other")
"""Verdicts that may stand beside the first's: the suite's second descriptor, `sscd-agreement`'s."""


KINDS = ("reference lines", "mitigations, no search", "attacked mitigations")
Row: TypeAlias = tuple[str, ...]


class Cell(NamedTuple):
    """Where images belong: under a mitigation, an attack and a role."""

    mitigation: str
    attack: str
    role: str
    attacked: bool
    """False where nothing was searched."""


@dataclass(frozen=True)
class Agreement:
    """What two judges say of the same images, in the same order."""

    first: tuple[bool, ...]
    second: tuple[bool, ...]

    @property
    def share(self) -> float:
        """Of the images on which they say the same."""
        same = sum(one == other for one, other in zip(self.first, self.second, strict=True))
        return same / len(self.first)

    @property
    def kappa(self) -> float | None:
        """Beyond chance; None where both call all images the same."""
        return cohens_kappa(self.first, self.second)


def agreements(records: Iterable[Record], beside: str) -> dict[Cell, Agreement]:
    """By cell, the first judge's verdicts and those named `beside`, over the images at all budgets.

    Cells stand in the records' order. Images that lack either verdict are left out.
    """
    verdicts: dict[Cell, dict[str, dict[tuple[object, ...], bool]]] = {}
    for record in records:
        if record.metric not in (REPLICATES, beside) or record.value is None:
            continue
        if record.attack is None:
            continue
        cell = Cell(record.mitigation, record.attack, record.role, False)
        image = (record.budget, record.sample, record.seed)
        of_judge = verdicts.setdefault(cell, {}).setdefault(record.metric, {})
        of_judge[image] = record.value > 0
    found = {}
    for cell, of_cell in verdicts.items():
        first, second = of_cell.get(REPLICATES, {}), of_cell.get(beside, {})
        images = [image for image in first if image in second]
        if images:
            attacked = any(budget != 0 for budget, *_ in images)
            found[cell._replace(attacked=attacked)] = Agreement(
                tuple(first[image] for image in images), tuple(second[image] for image in images)
            )
    return found


def pooled(parts: Iterable[Agreement]) -> Agreement:
    """Over the images of all `parts` together."""
    known = [*parts]
    return Agreement(
        tuple(verdict for part in known for verdict in part.first),
        tuple(verdict for part in known for verdict in part.second),
    )


def table(found: Mapping[Cell, Agreement], references: Collection[str]) -> Iterator[Row]:
    """A row for each cell and role, and below each kind of cell one for all of its images together.

    `references` are the labels of the mitigations that others are compared with. Attacked
    mitigations come last.
    """
    yield "mitigation x attack", "images", "first", "second", "agree", "kappa"
    for kind in KINDS:
        for role, suffix in (("memorized", ""), ("control", ", controls")):
            cells = {
                cell: agreement
                for cell, agreement in found.items()
                if cell.role == role and kind == _kind(cell, references)
            }
            for cell, agreement in cells.items():
                yield _row(f"{cell.mitigation} x {cell.attack}{suffix}", agreement)
            if cells:
                yield _row(f"all {kind}{suffix}", pooled(cells.values()))


def _kind(cell: Cell, references: Collection[str]) -> str:
    reference, hidden, attacked = KINDS
    if cell.mitigation in references:
        return reference
    return attacked if cell.attacked else hidden


def _row(label: str, agreement: Agreement) -> Row:
    n, kappa = len(agreement.first), agreement.kappa
    return (
        label,
        str(n),
        f"{sum(agreement.first) / n:.2f}",
        f"{sum(agreement.second) / n:.2f}",
        f"{agreement.share:.2f}",
        "-" if kappa is None else f"{kappa:.2f}",
    )
