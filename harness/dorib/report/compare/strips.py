"""The pictures of a comparison: original, A and B side by side, sorted by what came out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from dorib.errors import DoribError
from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import entry_file
from dorib.report.compare.comparison import Compared, PairedSample
from dorib.report.compare.sides import Side
from dorib.report.pictures import Column, draw_strips
from dorib.report.site.pictures import Pictures
from dorib.store.files import named_write_errors, whole_folder

GROUPS = {
    (True, False): "broken-in-A-alone",
    (False, True): "broken-in-B-alone",
    (True, True): "broken-in-both",
    (False, False): "held-in-both",
}
"""Folders, by whether a sample is broken in A and in B."""


def draw_comparison(compared: Compared, to: Path) -> list[Path]:
    """Write strips of all samples of all cells into a folder that is not there yet.

    Gives the sheets with all samples of a group.

    Raises:
        DoribError: a side has no pictures, or the folder is there or cannot be written.
    """
    for side in (compared.first, compared.second):
        if side.pictures is None:
            raise DoribError(
                f"{side.folder}: has no gallery, and so no pictures to show side by side; leave "
                "--strips out, or run again"
            )
    if os.path.lexists(to):
        raise DoribError(f"{to}: is there already; name another folder by --strips, or remove it")
    with named_write_errors(to, "--strips"), whole_folder(to) as folder:
        sheets = list(_drawn(compared, folder))
    return [to / sheet for sheet in sheets]


def _drawn(compared: Compared, folder: Path) -> Iterator[Path]:
    for cell, entries in zip(compared.comparison.cells, compared.entries, strict=True):
        columns = list(_columns(compared, entries))
        stems = dict.fromkeys(Path(entry_file(entry)).stem for entry in entries)
        for broken, name in GROUPS.items():
            of_group = [sample.id for sample in cell.samples if _broken(sample) == broken]
            if of_group:
                place = Path("--".join(stems), name)
                draw_strips(folder / place, of_group, columns)
                yield place / "overview.png"


def _broken(sample: PairedSample) -> tuple[bool, bool]:
    return sample.first_broken_at is not None, sample.second_broken_at is not None


def _columns(compared: Compared, entries: Sequence[Entry]) -> Iterator[Column]:
    first = compared.first
    originals = {s.id: first.folder / s.original for s in _of(first).samples if s.original}
    yield Column("original", originals)
    by_attack = entries[0].mitigation.label == entries[1].mitigation.label and (
        entries[0].attack.label != entries[1].attack.label
    )
    for letter, side, entry in zip("AB", (first, compared.second), entries, strict=True):
        labels = entry.mitigation.label, entry.attack.label
        found = {sample.id: _of(side).of(sample.id, *labels) for sample in _of(side).samples}
        drawn = {
            sample: side.folder / shown.pictured.picture
            for sample, shown in found.items()
            if shown and shown.pictured.picture
        }
        yield Column(f"{letter}: {labels[1 if by_attack else 0]}", drawn)


def _of(side: Side) -> Pictures:
    assert side.pictures is not None
    return side.pictures
