"""A board's gallery, read and held against the entries, as its pages show it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from dorib.errors import DoribError
from dorib.host.configure import NONE
from dorib.ranking.entries import Entry
from dorib.ranking.published import read_published
from dorib.reading import Malformed
from dorib.report.gallery import GALLERY_FILE, Gallery, Pictured, PicturedSample
from dorib.report.site.rows import BoardRow
from dorib.validation import first_problem

PICTURE = re.compile(r"gallery/[\w.-]+/[\w.-]+\.webp", re.ASCII)
SAMPLE = re.compile(r"[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Shown:
    """One picture with what was measured of it."""

    title: str
    pictured: Pictured
    entry: Entry
    threshold: float | None

    @property
    def copies(self) -> int:
        """Of its k images at its budget, how many replicate."""
        budgets = [point.budget for point in self.entry.curve]
        if self.pictured.budget not in budgets:
            return 0
        return self.pictured.copies[budgets.index(self.pictured.budget)]

    @property
    def broken_at(self) -> int | None:
        """The smallest budget at which one of the k images replicates."""
        return next((b for b, n in zip(self.budgets, self.pictured.copies, strict=True) if n), None)

    @property
    def broken(self) -> bool:
        """Whether one replicates at any budget."""
        return any(self.pictured.copies)

    @property
    def second_broken(self) -> bool | None:
        """The same by the second judge; None where there is none."""
        second = self.pictured.second_copies
        return None if second is None else any(second)

    @property
    def budgets(self) -> list[int]:
        """The cell's."""
        return [point.budget for point in self.entry.curve]


@dataclass(frozen=True)
class Strip:
    """One sample under one mitigation."""

    sample: PicturedSample
    shown: tuple[Shown, ...]


class Pictures:
    """A board's gallery by sample and cell."""

    def __init__(self, gallery: Gallery, entries: Mapping[tuple[str, str], Entry]) -> None:
        self.gallery = gallery
        self.samples = gallery.samples
        self._entries = entries
        self._by_place = {(p.sample, p.mitigation, p.attack): p for p in gallery.pictures}

    def of(self, sample: str, mitigation: str, attack: str, title: str = "") -> Shown | None:
        """One picture; None where it was not made."""
        found = self._by_place.get((sample, mitigation, attack))
        if found is None or found.picture is None:
            return None
        entry = self._entries[mitigation, attack]
        return Shown(title, found, entry, threshold(entry))

    def replicating(self, sample: str, mitigation: str, attack: str) -> list[int]:
        """The budgets at which one of the sample's k images in a cell replicates."""
        found = self._by_place.get((sample, mitigation, attack))
        if found is None:
            return []
        budgets = [point.budget for point in self._entries[mitigation, attack].curve]
        return [b for b, copies in zip(budgets, found.copies, strict=True) if copies]

    def strips(self, row: BoardRow) -> Iterator[Strip]:
        """Unmitigated, mitigated and attacked: by the attack of the worst gap, of each sample."""
        attack = row.row.worst_attack or next(iter(row.cells))
        for sample in self.samples:
            columns = {
                (NONE, NONE): "unmitigated",
                (row.method.label, NONE): "mitigated",
                (row.method.label, attack): f"attacked: {attack}",
            }
            found = [self.of(sample.id, *cell, title) for cell, title in columns.items()]
            shown = tuple(one for one in found if one)
            if shown:
                yield Strip(sample, shown)


def threshold(entry: Entry) -> float | None:
    """The suite's threshold, as the stack of the metric that judges states it."""
    found = (of.get("threshold") for of in entry.stack.values())
    return next((value for value in found if isinstance(value, int | float)), None)


def read_pictures(folder: Path, entries: Sequence[Entry]) -> Pictures | None:
    """The gallery in a board's folder; None where there is none.

    Raises:
        DoribError: it cannot be read, or its copies are not those that the entries count.
    """
    path = folder / GALLERY_FILE
    if not path.exists():
        return None
    try:
        gallery = read_published(Gallery, path)
    except (Malformed, FileNotFoundError) as error:
        raise DoribError(f"{path}: cannot be read ({error}); restore the file") from error
    except ValidationError as error:
        raise DoribError(f"{path}: no gallery ({first_problem(error)}); run again") from error
    if problem := problem_of(folder, gallery, entries):
        raise DoribError(f"{path}: {problem}; restore the files, or run again")
    return pictures_of(gallery, entries)


def problem_of(folder: Path, gallery: Gallery, entries: Sequence[Entry]) -> str | None:
    """In what a gallery in a folder is not of the entries; None where it is."""
    return next(_problems(folder, gallery, _cells(entries)), None)


def pictures_of(gallery: Gallery, entries: Sequence[Entry]) -> Pictures:
    """A gallery beside the entries that it is of."""
    return Pictures(gallery, _cells(entries))


def _cells(entries: Sequence[Entry]) -> dict[tuple[str, str], Entry]:
    return {(entry.mitigation.label, entry.attack.label): entry for entry in entries}


def _problems(
    folder: Path, gallery: Gallery, cells: Mapping[tuple[str, str], Entry]
) -> Iterator[str]:
    roles = {sample.id: sample.role for sample in gallery.samples}
    if len(roles) < len(gallery.samples):
        yield "a sample stands twice"
    for sample in gallery.samples:
        if not SAMPLE.fullmatch(sample.id) or set(sample.id) == {"."}:
            yield f"sample {sample.id!r} is no name of a page"
    files = [s.original for s in gallery.samples] + [p.picture for p in gallery.pictures]
    for file in (file for file in files if file is not None):
        if not PICTURE.fullmatch(file) or ".." in file:
            yield f"{file!r} is no picture in `gallery`"
        elif not (folder / file).is_file():
            yield f"{file} is missing"
    broken: dict[tuple[str, str, str, bool], list[int]] = {}
    seen = set()
    for one in gallery.pictures:
        place = one.sample, one.mitigation, one.attack
        entry = cells.get((one.mitigation, one.attack))
        if place in seen or entry is None or one.sample not in roles:
            yield f"{' x '.join(place)} stands twice, or in no entry"
            return
        seen.add(place)
        for second, copies in ((False, one.copies), (True, one.second_copies)):
            if copies is None:
                continue
            if len(copies) != len(entry.curve) or max(copies, default=0) > entry.k:
                yield f"{' x '.join(place)}: copies of other budgets, or of more than k images"
                return
            key = one.mitigation, one.attack, roles[one.sample], second
            firsts = broken.setdefault(key, [0] * len(copies))
            for number in range(len(copies)):
                firsts[number] += any(copies[: number + 1])
    for (mitigation, attack, role, second), counts in broken.items():
        stated = _stated(cells[mitigation, attack], role, second=second)
        if stated is not None and stated != (counts[-1:] if second else counts):
            judge = "second judge" if second else "entry"
            yield (
                f"{mitigation} x {attack}: {counts} {role} samples come back, where the {judge} "
                f"counts {stated}"
            )


def _stated(entry: Entry, role: str, *, second: bool) -> list[int] | None:
    """How many samples break within each budget; by the second judge, within the largest."""
    if second:
        judge = entry.second_judge
        rate = judge and (judge.memorized if role == "memorized" else judge.controls)
        return [rate.hits] if rate else None
    rates = [point.memorized if role == "memorized" else point.controls for point in entry.curve]
    return [rate.hits for rate in rates if rate] if all(rates) else None
