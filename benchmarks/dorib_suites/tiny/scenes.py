"""Captioned scenes: the general distribution of the embedded suite.

One or two shapes on a textured ground, drawn at twice the size and reduced. Everything a caption
names (size, colour, kind, relation, texture, ground colour) decides the picture; hue, position,
rotation and stripe width vary around it.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE = 64
CANVAS = 128

KINDS = ("circle", "square", "triangle", "star", "ring", "cross")
TEXTURES = ("plain", "striped", "dotted", "checkered", "shaded")
SIZES = {"small": 15.0, "large": 26.0}
RELATIONS = ("left of", "above")

# Hue in degrees, saturation and value in [0, 1].
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0, 0.85, 0.85),
    "orange": (28, 0.9, 0.95),
    "yellow": (54, 0.85, 0.95),
    "green": (125, 0.75, 0.6),
    "cyan": (182, 0.7, 0.85),
    "blue": (222, 0.85, 0.8),
    "purple": (278, 0.7, 0.65),
    "pink": (330, 0.45, 0.97),
    "white": (0, 0.0, 0.97),
    "black": (0, 0.0, 0.08),
}


@dataclass(frozen=True)
class Shape:
    """One shape of a scene, in the words of its caption."""

    size: str
    colour: str
    kind: str

    @property
    def words(self) -> str:
        """As it stands in the caption."""
        return f"{self.size} {self.colour} {self.kind}"


@dataclass(frozen=True)
class Scene:
    """One or two shapes on a ground."""

    shapes: tuple[Shape, ...]
    relation: str | None
    texture: str
    ground: str

    @property
    def caption(self) -> str:
        """What the scene shows, in words."""
        subject = f"a {self.shapes[0].words}"
        if self.relation is not None:
            subject += f" {self.relation} a {self.shapes[1].words}"
        return f"{subject} on a {self.texture} {self.ground} background"


def draw_scene(rng: np.random.Generator) -> Scene:
    """A scene chosen at random; two thirds hold two shapes, no two colours are the same."""
    count = 1 if rng.random() < 1 / 3 else 2
    colours = [str(c) for c in rng.choice(list(COLOURS), size=count + 1, replace=False)]
    shapes = tuple(
        Shape(str(rng.choice(list(SIZES))), colour, str(rng.choice(KINDS)))
        for colour in colours[:count]
    )
    relation = str(rng.choice(RELATIONS)) if count == 2 else None
    return Scene(shapes, relation, str(rng.choice(TEXTURES)), colours[-1])


def render(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paint a scene: `[64, 64, 3]`, 8-bit RGB."""
    picture = Image.new("RGB", (CANVAS, CANVAS), _jittered(scene.ground, rng))
    pen = ImageDraw.Draw(picture)
    _paint_texture(pen, scene, rng)
    for shape, centre in zip(scene.shapes, _centres(scene, rng), strict=True):
        radius = SIZES[shape.size] * rng.uniform(0.9, 1.1)
        _paint_shape(pen, shape.kind, centre, radius, _jittered(shape.colour, rng), rng)
    small = picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(small, dtype=np.uint8)


def _centres(scene: Scene, rng: np.random.Generator) -> list[tuple[float, float]]:
    middle = CANVAS / 2
    shift = rng.uniform(-8, 8, size=(len(scene.shapes), 2))
    if scene.relation is None:
        places = [(middle + 2 * shift[0, 0], middle + 2 * shift[0, 1])]
    else:
        apart = 31.0
        step = (apart, 0.0) if scene.relation == "left of" else (0.0, apart)
        places = [
            (middle - step[0] + shift[0, 0] / 2, middle - step[1] + shift[0, 1] / 2),
            (middle + step[0] + shift[1, 0] / 2, middle + step[1] + shift[1, 1] / 2),
        ]
    return places


def _jittered(colour: str, rng: np.random.Generator, brightness: float = 1.0) -> tuple[int, ...]:
    hue, saturation, value = COLOURS[colour]
    hue = (hue + rng.uniform(-6, 6)) % 360 / 360
    saturation = float(np.clip(saturation + rng.uniform(-0.04, 0.04), 0, 1))
    value = float(np.clip((value + rng.uniform(-0.04, 0.04)) * brightness, 0, 1))
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value))


def _paint_texture(pen: ImageDraw.ImageDraw, scene: Scene, rng: np.random.Generator) -> None:
    # Dark grounds take a lighter second tone: a darker one would not be seen.
    dark = COLOURS[scene.ground][2] < 0.3
    base = COLOURS[scene.ground]
    second = _tone(base, 0.28 if dark else base[2] * 0.72)
    step = int(rng.integers(14, 20))
    offset = int(rng.integers(0, step))
    match scene.texture:
        case "striped":
            for x in range(-step + offset, CANVAS + step, step):
                pen.rectangle((x, 0, x + step // 2 - 1, CANVAS), fill=second)
        case "dotted":
            for x in range(-step + offset, CANVAS + step, step):
                for y in range(-step + offset, CANVAS + step, step):
                    pen.ellipse((x, y, x + step // 2, y + step // 2), fill=second)
        case "checkered":
            for row, y in enumerate(range(-step + offset, CANVAS + step, step)):
                for column, x in enumerate(range(-step + offset, CANVAS + step, step)):
                    if (row + column) % 2:
                        pen.rectangle((x, y, x + step - 1, y + step - 1), fill=second)
        case "shaded":
            for y in range(CANVAS):
                share = y / (CANVAS - 1)
                top, bottom = (0.34, base[2]) if dark else (base[2], base[2] * 0.5)
                tone = _tone(base, top + share * (bottom - top))
                pen.line((0, y, CANVAS, y), fill=tone)


def _tone(colour: tuple[float, float, float], value: float) -> tuple[int, ...]:
    hue, saturation, _ = colour
    rgb = colorsys.hsv_to_rgb(hue / 360, saturation, value)
    return tuple(round(255 * channel) for channel in rgb)


def _paint_shape(
    pen: ImageDraw.ImageDraw,
    kind: str,
    centre: tuple[float, float],
    radius: float,
    colour: tuple[int, ...],
    rng: np.random.Generator,
) -> None:
    x, y = centre
    box = (x - radius, y - radius, x + radius, y + radius)
    turn = rng.uniform(-0.25, 0.25)
    match kind:
        case "circle":
            pen.ellipse(box, fill=colour)
        case "ring":
            pen.ellipse(box, outline=colour, width=max(4, round(radius * 0.38)))
        case "square":
            pen.polygon(_polygon(centre, [radius * 1.2] * 4, turn + math.pi / 4), fill=colour)
        case "triangle":
            pen.polygon(_polygon(centre, [radius * 1.2] * 3, turn), fill=colour)
        case "star":
            pen.polygon(_polygon(centre, [radius * 1.2, radius * 0.5] * 5, turn), fill=colour)
        case "cross":
            for angle in (turn, turn + math.pi / 2):
                ends = _polygon(centre, [radius * 1.1] * 2, angle)
                pen.line(ends, fill=colour, width=round(radius * 0.55))


def _polygon(
    centre: tuple[float, float], radii: list[float], turn: float
) -> list[tuple[float, float]]:
    points = []
    for number, radius in enumerate(radii):
        angle = turn - math.pi / 2 + 2 * math.pi * number / len(radii)
        points.append((centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)))
    return points
