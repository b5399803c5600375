"""A run's pictures for web pages: small, one for each sample and cell, with what was measured."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image
from pydantic import Field, ValidationError

from dorib.contracts.methods import REPLICATES, SECOND_REPLICATES
from dorib.ranking.observations import LIKENESS, SECOND_LIKENESS
from dorib.ranking.rates import Count, Facts, Positive, is_absent
from dorib.report.run import Run
from dorib.store.files import sweep, whole_file, write_json
from dorib.suites.attribution import Attribution, attributions
from dorib.suites.images import to_picture
from dorib.verbs.context import Subject
from dorib.verbs.generate import Request
from dorib.verbs.judging import Cell

GALLERY_FILE = "gallery/gallery.json"
SIDE = 160
"""Pixels: larger pictures are made smaller, smaller ones are kept."""
QUALITY = 82
"""WebP's, at which the blocks of a damaged picture are still those of the model."""


class PicturedSample(Facts):
    """A sample of the run."""

    id: str
    role: Literal["memorized", "control"]
    caption: str
    original: str | None
    """File of its first original, relative to the leaderboard's folder, as all are; None where it
    may not be published."""
    cluster: str | None = Field(default=None, exclude_if=is_absent)
    """The source photograph; None in galleries from before it was stated."""
    attribution: Attribution | None = Field(default=None, exclude_if=is_absent)
    """Whose the original is; None in galleries from before it was stated."""


class Pictured(Facts):
    """One sample in one cell: the image that came nearest to its original, and how near."""

    sample: str
    mitigation: str
    """Labels, as in entries."""
    attack: str
    picture: str | None
    """None where nothing could be drawn."""
    budget: Count | None
    """Of the search that the picture comes from."""
    number: Positive | None
    """Which of the k images it is."""
    likeness: float | None
    """Its cosine with the nearest original, by the suite's descriptor."""
    second_likeness: float | None
    copies: tuple[Count, ...]
    """How many of the k images replicate, at each of the cell's budgets."""
    second_copies: tuple[Count, ...] | None
    """The same by the suite's second judge."""


class Gallery(Facts):
    """All pictures of a leaderboard."""

    schema_version: Literal[1] = 1
    samples: tuple[PicturedSample, ...]
    pictures: tuple[Pictured, ...]


class _Place(NamedTuple):
    mitigation: str
    attack: str | None
    sample: str | None
    budget: int
    seed: int | None
    metric: str


def write_gallery(this: Run, cells: Collection[tuple[str, str]]) -> Path:
    """Write `gallery/`: WebP pictures and `gallery.json`, which says what they show.

    Of `cells`, those of the board by their labels, the ones that other runs have made keep the
    pictures they have.

    Raises:
        DoribError: the suite's attributions are damaged.
        OSError: the disk is full or not writable.
    """
    wanted = {LIKENESS, SECOND_LIKENESS, REPLICATES, SECOND_REPLICATES}
    values = {
        _Place(r.mitigation, r.attack, r.sample, r.budget, r.seed, r.metric): r.value
        for r in this.records
        if r.metric in wanted and r.value is not None
    }
    path = this.out / GALLERY_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in (path.parent, *(path.parent / subject.id for subject in this.subjects)):
        folder.mkdir(exist_ok=True)
        sweep(folder)
    whose = attributions(this.context.suite)
    gallery = Gallery(
        samples=tuple(_sample(this, subject, whose.get(subject.id)) for subject in this.subjects),
        pictures=tuple(
            _pictured(this, cell, subject, values)
            for cell in this.made.values()
            for subject in this.subjects
        )
        + tuple(_of_others(this, path, cells)),
    )
    write_json(path, gallery.model_dump(mode="json"))
    return path


def _of_others(this: Run, path: Path, cells: Collection[tuple[str, str]]) -> Iterator[Pictured]:
    try:
        there = Gallery.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        # None yet, or damaged: pages do without.
        return
    for one in there.pictures:
        labels = (one.mitigation, one.attack)
        if labels in cells and labels not in this.made:
            yield one


def _sample(this: Run, subject: Subject, whose: Attribution | None) -> PicturedSample:
    file = f"gallery/{subject.id}/original.webp"
    _save(to_picture(this.context.originals(subject)[0]), this.out / file)
    assert subject.role != "utility"
    return PicturedSample(
        id=subject.id,
        role=subject.role,
        caption=subject.caption,
        original=file,
        cluster=subject.cluster,
        attribution=whose,
    )


def _pictured(this: Run, cell: Cell, subject: Subject, values: dict[_Place, float]) -> Pictured:
    assert cell.attacked is not None

    def value(request: Request, metric: str) -> float | None:
        budget, seed = request.budget, request.seed
        place = _Place(cell.mitigation, cell.attack, subject.id, budget, seed, metric)
        return values.get(place)

    # The largest budget first, so that it is shown where no likeness tells.
    budgets = tuple(cell.attacked.budgets)
    requests = [Request(subject, b, seed) for b in reversed(budgets) for seed in cell.seeds]
    there = [request for request in requests if request.item in cell.generated.shelf]
    nearest = max(there, key=lambda r: _known(value(r, LIKENESS)), default=None)
    file = None
    if nearest is not None:
        slug = f"{cell.mitigated.method.slug}.{cell.attacked.method.slug}"
        file = f"gallery/{subject.id}/{slug}.webp"
        with Image.open(cell.generated.path(nearest), formats=("PNG",)) as picture:
            _save(picture.convert("RGB"), this.out / file)

    def copies(metric: str) -> Iterator[int]:
        for budget in budgets:
            of_budget = [Request(subject, budget, seed) for seed in cell.seeds]
            yield sum((value(request, metric) or 0) > 0 for request in of_budget)

    judged_twice = any(place.metric == SECOND_REPLICATES for place in values)
    return Pictured(
        sample=subject.id,
        mitigation=cell.mitigation,
        attack=str(cell.attack),
        picture=file,
        budget=nearest.budget if nearest else None,
        number=1 + list(cell.seeds).index(nearest.seed) if nearest else None,
        likeness=value(nearest, LIKENESS) if nearest else None,
        second_likeness=value(nearest, SECOND_LIKENESS) if nearest else None,
        copies=tuple(copies(REPLICATES)),
        second_copies=tuple(copies(SECOND_REPLICATES)) if judged_twice else None,
    )


def _known(likeness: float | None) -> float:
    return -1.0 if likeness is None else likeness


def _save(picture: Image.Image, path: Path) -> None:
    if max(picture.size) > SIDE:
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    with whole_file(path, durable=False) as temporary:
        picture.save(temporary, format="WEBP", quality=QUALITY, method=4)
