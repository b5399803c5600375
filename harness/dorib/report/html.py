"""Results as HTML that a notebook shows: the table, and some strips of pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from dorib.errors import DoribError
from dorib.ranking.entries import Entry
from dorib.report.overview import footnotes, scale, table_lines, titles
from dorib.report.webpages import template_environment

Place: TypeAlias = tuple[str, str, str]
"""Of a strip: the labels of mitigation and attack, and the id of the sample."""

STRIPS = 8
"""At most so many are embedded."""
BYTES = 1_000_000
"""At most so many bytes of PNG files are embedded."""


@dataclass(frozen=True)
class Strip:
    """One strip of pictures, embedded."""

    mitigation: str
    attack: str
    sample: str
    source: str
    """A data URI."""


def results_html(entries: Sequence[Entry], pictures: Mapping[Place, Path]) -> str:
    """A table of all entries, and strips of some samples under the attacks on mitigations.

    Args:
        entries: of one run, at least one.
        pictures: PNG files of strips by mitigation, attack and sample.

    Raises:
        DoribError: a strip cannot be read.
    """
    return (
        template_environment("dorib.report")
        .get_template("results.html")
        .render(
            suite=entries[0].suite,
            split=entries[0].split,
            titles=titles(entries),
            lines=list(table_lines(entries)),
            notes=[*footnotes(entries), scale(entries, entries[0].profile)],
            strips=_embedded(_chosen(entries, pictures), pictures),
            pictures=len(pictures),
        )
    )


def _chosen(entries: Sequence[Entry], pictures: Mapping[Place, Path]) -> list[Place]:
    """Which strips are shown: of searches on mitigations, as many of each cell.

    Such a strip holds what the others of its sample hold. Where there is none, the first ones.
    """
    places = list(pictures)
    searched = {
        (entry.mitigation.label, entry.attack.label)
        for entry in entries
        if entry.searches and not entry.reference_line
    }
    telling = [place for place in places if place[:2] in searched] or places
    cells = dict.fromkeys(place[:2] for place in telling)
    of_each = max(1, STRIPS // len(cells)) if cells else 0
    chosen: list[Place] = []
    for cell in cells:
        chosen += [place for place in telling if place[:2] == cell][:of_each]
    return chosen[:STRIPS]


def _embedded(places: Sequence[Place], pictures: Mapping[Place, Path]) -> list[Strip]:
    strips: list[Strip] = []
    left = BYTES
    for place in places:
        content = _png(pictures[place], at_most=left)
        if content is None:
            break
        left -= len(content)
        source = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
        strips.append(Strip(*place, source))
    return strips


def _png(path: Path, at_most: int) -> bytes | None:
    """A PNG file's bytes; None where there are more than `at_most`."""
    try:
        with path.open("rb") as file:
            content = file.read(at_most + 1)
    except OSError as error:
        raise DoribError(
            f"{path}: cannot be read ({error.strerror}); run again to draw it"
        ) from error
    if len(content) > at_most:
        return None
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        raise DoribError(f"{path}: no PNG file; run again to draw it")
    return content
