"""Strips of pictures: original, unmitigated, mitigated, attacked, side by side for each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dorib.reading import BROKEN_PICTURE
from dorib.store.files import sweep, whole_file
from dorib.suites.images import to_picture

TILE = 128
GAP = 6
CAPTION_HEIGHT = 18
PAPER, INK = "white", "black"


@dataclass(frozen=True)
class Column:
    """One arm of a strip: its title, and by sample id the picture it shows."""

    title: str
    pictures: Mapping[str, Path]


def draw_original(path: Path, original: Tensor) -> None:
    """Write an original, `[3, height, width]` in [0, 1], as strips show it.

    Raises:
        OSError: the disk is full or not writable.
    """
    with whole_file(path) as temporary:
        _enlarged(to_picture(original)).save(temporary)


def draw_strips(folder: Path, samples: Sequence[str], columns: Sequence[Column]) -> None:
    """Write `<sample>.png` for each sample and `overview.png` with all of them.

    Where a sample has several evaluation images, the caller chooses which one is shown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    titles = [column.title for column in columns]
    strips = []
    for sample in samples:
        strip = _row([_tile(column.pictures.get(sample)) for column in columns])
        strips.append(strip)
        _save(_stacked([strip], titles), folder / f"{sample}.png")
    if strips:
        _save(_stacked(strips, titles), folder / "overview.png")


def _save(sheet: Image.Image, path: Path) -> None:
    with whole_file(path, durable=False) as temporary:
        # Drawn anew by every run: a little larger, in a third of the time.
        sheet.save(temporary, compress_level=1)


def can_be_shown(path: Path) -> bool:
    """Whether a picture is there, and whole."""
    return _shown(path) is not None


def _shown(path: Path) -> Image.Image | None:
    try:
        with Image.open(path, formats=("PNG", "WEBP")) as picture:
            return _enlarged(picture.convert("RGB"))
    except (*BROKEN_PICTURE, Image.DecompressionBombError):
        return None


def _tile(path: Path | None) -> Image.Image:
    shown = _shown(path) if path else None
    if shown is None:
        shown = Image.new("RGB", (TILE, TILE), "lightgrey")
        ImageDraw.Draw(shown).text((GAP, GAP), "error", fill=INK)
    return shown


def _enlarged(picture: Image.Image) -> Image.Image:
    small = picture.width < TILE
    method = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    return picture.resize((TILE, TILE), method)


def _row(tiles: Sequence[Image.Image]) -> Image.Image:
    row = Image.new("RGB", (len(tiles) * (TILE + GAP) - GAP, TILE), PAPER)
    for number, tile in enumerate(tiles):
        row.paste(tile, (number * (TILE + GAP), 0))
    return row


def _stacked(strips: Sequence[Image.Image], titles: Sequence[str]) -> Image.Image:
    width, height = strips[0].width, len(strips) * (TILE + GAP) + CAPTION_HEIGHT
    sheet = Image.new("RGB", (width + 2 * GAP, height + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    for number, title in enumerate(titles):
        left = GAP + number * (TILE + GAP)
        pen.text((left, 2), _shortened(title, font), fill=INK, font=font)
    for number, strip in enumerate(strips):
        sheet.paste(strip, (GAP, CAPTION_HEIGHT + number * (TILE + GAP)))
    return sheet


def _shortened(title: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(title) <= TILE:
        return title
    while font.getlength(title + "...") > TILE:
        title = title[:-1]
    return title + "..."
