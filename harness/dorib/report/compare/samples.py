"""What each sample of a board did in each of its cells, from its records or from its gallery."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import or_

from dorib.contracts.methods import REPLICATES
from dorib.errors import DoribError
from dorib.ranking.entries import Entry
from dorib.ranking.observations import UNSCORABLE
from dorib.ranking.outcomes import Role
from dorib.ranking.records import Record
from dorib.report.board.publishing import RECORDS_FILE
from dorib.report.opened import Results
from dorib.report.site.pictures import Pictures

ROLES: tuple[Role, ...] = ("memorized", "control")


@dataclass(frozen=True)
class Samples:
    """The samples of a board and where they replicate."""

    source: str
    """The file that tells."""
    clusters: Mapping[Role, Mapping[str, str]]
    """The source photograph of each sample."""
    replicating: frozenset[tuple[str, str, str, int]]
    """Mitigation, attack, sample and budget at which one of the sample's k images replicates."""

    def broken(self, entry: Entry, role: Role) -> dict[str, tuple[bool, ...]]:
        """By sample, whether it is broken within each budget of a cell's.

        Raises:
            DoribError: the rates of `entry` are not those of the samples.
        """
        labels = entry.mitigation.label, entry.attack.label
        budgets = [point.budget for point in entry.curve]
        found = {
            sample: tuple(
                accumulate(((*labels, sample, b) in self.replicating for b in budgets), or_)
            )
            for sample in self.clusters[role]
        }
        for number, point in enumerate(entry.curve):
            rate = point.memorized if role == "memorized" else point.controls
            own = sum(hits[number] for hits in found.values()), len(found)
            stated = (rate.hits, rate.n) if rate else (0, 0)
            if own != stated:
                raise DoribError(
                    f"{self.source}: {own[0]} of {own[1]} {role} samples are broken by "
                    f"{labels[1]} under {labels[0]} within {point.budget}, where its entry states "
                    f"{stated[0]} of {stated[1]}; restore the files, or run again"
                )
        return found


def samples_of(results: Results, pictures: Pictures | None) -> Samples:
    """The samples of a board, from its records or, where it was published without, its pictures.

    Raises:
        DoribError: the records are damaged, or nothing in the folder tells of single samples.
    """
    path = results.folder / RECORDS_FILE
    if path.is_file():
        return _of_records(str(path), results.records())
    if pictures is None:
        raise DoribError(
            f"{results.folder}: has neither {RECORDS_FILE} nor a gallery, which tell of single "
            "samples; without them nothing can be paired"
        )
    return _of_gallery(str(results.folder), pictures, results.entries)


def _of_records(source: str, records: Iterable[Record]) -> Samples:
    clusters: dict[Role, dict[str, str]] = {role: {} for role in ROLES}
    unscorable, replicating = set(), set()
    for record in records:
        if record.role == "utility" or record.sample is None or record.attack is None:
            continue
        if record.metric == UNSCORABLE:
            unscorable.add(record.sample)
        clusters[record.role][record.sample] = record.cluster or record.sample
        if record.metric == REPLICATES and record.value:
            place = record.mitigation, record.attack, record.sample, record.budget
            replicating.add(place)
    scored: dict[Role, Mapping[str, str]] = {
        role: {sample: own for sample, own in of_role.items() if sample not in unscorable}
        for role, of_role in clusters.items()
    }
    return Samples(source, scored, frozenset(replicating))


def _of_gallery(source: str, pictures: Pictures, entries: Sequence[Entry]) -> Samples:
    clusters: dict[Role, dict[str, str]] = {role: {} for role in ROLES}
    # Galleries used to say nothing of photographs: where each sample has its own, nothing is lost.
    apart = entries[0].samples.clusters == entries[0].samples.memorized
    for sample in pictures.samples:
        if sample.cluster is None and not apart:
            raise DoribError(
                f"{source}: its gallery does not say which samples share a photograph; compare "
                "where its records lie, or run again"
            )
        clusters[sample.role][sample.id] = sample.cluster or sample.id
    replicating = set()
    for entry in entries:
        labels = entry.mitigation.label, entry.attack.label
        for sample in pictures.samples:
            for budget in pictures.replicating(sample.id, *labels):
                replicating.add((*labels, sample.id, budget))
    return Samples(source, clusters, frozenset(replicating))
