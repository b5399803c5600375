"""Captioned scenes: the general distribution of the embedded suite.

One or two shapes on a textured ground, drawn at twice the size and reduced. Everything a caption
names (size, colour, kind, relation, texture, ground colour) decides the picture; hue, position,
rotation, stripe width and where the light falls from vary around it. The light tells two images of
one caption apart, and costs a small U-Net little; positions at will would cost it the shapes.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE = 64
CANVAS = 128

KINDS = ("circle", "square", "triangle", "star", "ring", "cross")
TEXTURES = ("plain", "striped", "dotted", "checkered", "shaded")
SIZES = {"small": 17.0, "large": 26.0}
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


def of_other_kinds(scene: Scene) -> list[Scene]:
    """All scenes that differ from this one by the kind of one shape."""
    return [
        replace(scene, shapes=(*scene.shapes[:place], other, *scene.shapes[place + 1 :]))
        for place, shape in enumerate(scene.shapes)
        for other in (replace(shape, kind=kind) for kind in KINDS if kind != shape.kind)
    ]


def render(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paint a scene: `[64, 64, 3]`, 8-bit RGB."""
    picture = Image.fromarray(_ground(scene, rng))
    pen = ImageDraw.Draw(picture)
    for shape, centre in zip(scene.shapes, _centres(scene, rng), strict=True):
        radius = SIZES[shape.size] * rng.uniform(0.9, 1.1)
        _paint_shape(pen, shape.kind, centre, radius, _jittered(shape.colour, rng), rng)
    lit = np.asarray(picture) * _light(rng)[:, :, None]
    picture = Image.fromarray(lit.round().clip(0, 255).astype(np.uint8))
    small = picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(small, dtype=np.uint8)


def _light(rng: np.random.Generator) -> NDArray[np.float64]:
    """Brightness by a lamp above some point of the scene, `[128, 128]`."""
    x, y = rng.uniform(0, CANVAS, size=2)
    row, column = np.mgrid[:CANVAS, :CANVAS]
    light: NDArray[np.float64] = 1.12 - 0.5 * np.hypot(column - x, row - y) / CANVAS
    return light


def _centres(scene: Scene, rng: np.random.Generator) -> list[tuple[float, float]]:
    middle = CANVAS / 2
    shift = rng.uniform(-8, 8, size=(len(scene.shapes), 2))
    if scene.relation is None:
        return [(middle + 2 * shift[0, 0], middle + 2 * shift[0, 1])]
    apart = 31.0
    step = (apart, 0.0) if scene.relation == "left of" else (0.0, apart)
    return [
        (middle - step[0] + shift[0, 0] / 2, middle - step[1] + shift[0, 1] / 2),
        (middle + step[0] + shift[1, 0] / 2, middle + step[1] + shift[1, 1] / 2),
    ]


def _jittered(colour: str, rng: np.random.Generator) -> tuple[int, ...]:
    hue, saturation, value = COLOURS[colour]
    hue = hue + rng.uniform(-6, 6)
    saturation = float(np.clip(saturation + rng.uniform(-0.04, 0.04), 0, 1))
    value = float(np.clip(value + rng.uniform(-0.04, 0.04), 0, 1))
    return _rgb(hue, saturation, value)


def _ground(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The texture in two tones of its colour, `[128, 128, 3]`."""
    hue, saturation, value = COLOURS[scene.ground]
    # Dark grounds take a lighter second tone: a darker one would not be seen.
    dark = value < 0.3
    tone = 0.28 if dark else value * 0.72
    if scene.texture == "shaded":
        tone = 0.34 if dark else value * 0.5
    first = np.array(_jittered(scene.ground, rng))
    second = np.array(_rgb(hue, saturation, tone))
    share = _pattern(scene.texture, rng)[:, :, None]
    mixed: NDArray[np.uint8] = np.round(first + share * (second - first)).astype(np.uint8)
    return mixed


def _pattern(texture: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """The share of the second tone, `[128, 128]` in [0, 1]."""
    step = rng.uniform(14, 20)
    down, right = (
        axis / step + offset
        for axis, offset in zip(np.mgrid[:CANVAS, :CANVAS], rng.uniform(0, 2, size=2), strict=True)
    )
    share = np.zeros((CANVAS, CANVAS))
    match texture:
        case "striped":
            share[right % 1 < 0.5] = 1
        case "dotted":
            share[np.hypot(down % 1 - 0.5, right % 1 - 0.5) < 0.27] = 1
        case "checkered":
            share[(np.floor(down) + np.floor(right)) % 2 == 1] = 1
        case "shaded":
            share[:] = np.linspace(0, 1, CANVAS)[:, None]
    return share


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, ...]:
    rgb = colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value)
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
