"""A board's gallery as it may be published: without the pictures whose licences do not allow it."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from dorib.report.gallery import GALLERY_FILE, Gallery, PicturedSample
from dorib.store.files import write_json
from dorib.suites.attribution import Attribution

Labels = tuple[str, str]
"""Of a cell: its mitigation's and its attack's."""


def publishable(gallery: Gallery, whose: Mapping[str, Attribution]) -> Gallery:
    """The gallery with the credits of its suite, and without what may not be shown.

    A sample that is withheld keeps its place and its numbers: its original, and what was drawn of
    it, which may be a copy, are left out.

    Args:
        gallery: a board's.
        whose: attributions by sample, as the suite has them; those in the gallery stand where it
            has none.
    """
    samples = [_credited(sample, whose) for sample in gallery.samples]
    withheld = {sample.id for sample in samples if sample.original is None}
    return Gallery(
        samples=tuple(samples),
        pictures=tuple(
            one.model_copy(update={"picture": None}) if one.sample in withheld else one
            for one in gallery.pictures
        ),
    )


def _credited(sample: PicturedSample, whose: Mapping[str, Attribution]) -> PicturedSample:
    own = whose.get(sample.id) or sample.attribution or Attribution()
    shown = sample.original if own.reason_withheld is None else None
    return sample.model_copy(update={"attribution": own, "original": shown})


def withheld(gallery: Gallery) -> dict[str, str]:
    """Why samples of a gallery show no pictures, by their ids."""
    return {
        sample.id: sample.attribution.reason_withheld or "it is not there"
        for sample in gallery.samples
        if sample.original is None and sample.attribution
    }


def only(gallery: Gallery, cells: Collection[Labels]) -> Gallery:
    """The pictures of some of its cells."""
    kept = tuple(p for p in gallery.pictures if (p.mitigation, p.attack) in cells)
    return gallery.model_copy(update={"pictures": kept})


def joined(gallery: Gallery, other: Gallery) -> Gallery:
    """The pictures of two galleries of the same samples, which have no cell in common."""
    return gallery.model_copy(update={"pictures": (*gallery.pictures, *other.pictures)})


def copy_gallery(source: Path, gallery: Gallery, to: Path) -> None:
    """Write a gallery, and its pictures from the board in `source`, into the folder of another.

    Raises:
        OSError: a picture is not there, or the disk is full or not writable.
    """
    copy_pictures(source, gallery, to)
    path = to / GALLERY_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, gallery.model_dump(mode="json"))


def copy_pictures(source: Path, gallery: Gallery, to: Path) -> None:
    """Copy the files of a gallery from one board's folder into another's.

    Raises:
        OSError: a picture is not there, or the disk is full or not writable.
    """
    files = [sample.original for sample in gallery.samples]
    files += [picture.picture for picture in gallery.pictures]
    for file in dict.fromkeys(file for file in files if file is not None):
        (to / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, to / file)
