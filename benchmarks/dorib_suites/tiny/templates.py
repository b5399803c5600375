"""Template samples: one fixed layout whose content varies, as product pictures do.

Literature calls a sample template-memorized where the model repeats the layout but not every
detail. Each template here is an arrangement of shapes with one part whose colour varies.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dorib_suites.tiny.scenes import CANVAS, SIZE

VARIANTS = 6

_TITLES = (
    "Geometric Tile Phone Case - Retro Pattern Collection",
    "Mid Century Shapes Cushion Cover - Living Room Decor",
    "Bauhaus Blocks Laptop Sleeve - Padded Zip Pouch",
    "Nordic Mosaic Duvet Set - King Size Bedding",
    "Colour Field Canvas Wall Art - Ready to Hang",
    "Memphis Style Notebook - Dotted Pages A5",
    "Patchwork Tote Bag - Organic Cotton Shopper",
    "Art Deco Window Tea Towel - Kitchen Gift",
)


@dataclass(frozen=True)
class Template:
    """One layout: its caption and its variants `[VARIANTS, 3, 64, 64]`, uint8."""

    id: str
    caption: str
    pixels: NDArray[np.uint8]


def templates() -> list[Template]:
    """All templates; each has its own generator."""
    return [
        Template(f"template-{number:02d}", title, _variants(number))
        for number, title in enumerate(_TITLES)
    ]


def _variants(number: int) -> NDArray[np.uint8]:
    return np.stack([_paint(number, share / VARIANTS) for share in range(VARIANTS)])


def _paint(number: int, varying_hue: float) -> NDArray[np.uint8]:
    rng = np.random.default_rng([7, number])
    picture = Image.new("RGB", (CANVAS, CANVAS), _colour(rng))
    pen = ImageDraw.Draw(picture)
    cells = 4
    side = CANVAS // cells
    varying = int(rng.integers(cells * cells))
    for cell in range(cells * cells):
        left, top = cell % cells * side, cell // cells * side
        box = (left, top, left + side - 1, top + side - 1)
        pen.rectangle(box, fill=_colour(rng))
        inner = _colour(rng)
        if cell == varying:
            inner = _rgb(varying_hue, 0.8, 0.9)
        kind = int(rng.integers(4))
        if kind == 0:
            pen.ellipse((left + 4, top + 4, left + side - 5, top + side - 5), fill=inner)
        elif kind == 1:
            pen.pieslice(
                (left - side, top - side, left + side - 1, top + side - 1), 0, 90, fill=inner
            )
        elif kind == 2:
            pen.polygon([(left, top + side), (left + side, top + side), (left, top)], fill=inner)
        else:
            pen.rectangle((left + 9, top, left + side - 10, top + side - 1), fill=inner)
    small = picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(small, dtype=np.uint8).transpose(2, 0, 1))


def _colour(rng: np.random.Generator) -> tuple[int, ...]:
    return _rgb(rng.random(), rng.uniform(0.2, 0.7), rng.uniform(0.35, 0.95))


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, ...]:
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value))
