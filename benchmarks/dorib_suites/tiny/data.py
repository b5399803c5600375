"""Training data as arrays: scenes, photographs' crops, augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dorib_suites.tiny.photographs import CATALOGUE, Photograph, load_photographs
from dorib_suites.tiny.scenes import SIZE, Scene, draw_scene, of_other_kinds, render

SCENES = 24_000


@dataclass(frozen=True)
class Captioned:
    """Pictures with their captions: `pixels` is `[N, 3, 64, 64]`, uint8."""

    pixels: Tensor
    captions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.captions)


def captioned_scenes(count: int = SCENES, seed: int = 1, keep_in: Path | None = None) -> Captioned:
    """`count` scenes, each from its own generator; painted once where they are kept in a folder."""
    return _painted(_scenes(count, seed), (seed, 1), keep_in)


def redrawn_scenes(count: int = SCENES, seed: int = 1, keep_in: Path | None = None) -> Captioned:
    """The same scenes drawn once more: equal captions, other places, turns and tones."""
    return _painted(_scenes(count, seed), (seed, 2), keep_in)


def scenes_of_another_kind(
    count: int = SCENES, seed: int = 1, keep_in: Path | None = None
) -> Captioned:
    """The same scenes, but for the kind of one shape in each."""
    changed = []
    for number, scene in enumerate(_scenes(count, seed)):
        others = of_other_kinds(scene)
        changed.append(others[int(_generator(seed, number, 3).integers(len(others)))])
    return _painted(changed, (seed, 4), keep_in)


def _scenes(count: int, seed: int) -> list[Scene]:
    return [draw_scene(_generator(seed, number)) for number in range(count)]


def _painted(scenes: Sequence[Scene], drawing: tuple[int, int], keep_in: Path | None) -> Captioned:
    seed, stream = drawing
    path = keep_in / f"scenes-{seed}-{len(scenes)}-{stream}.npy" if keep_in else None
    if path is not None and path.exists():
        pixels = np.load(path, allow_pickle=False)
    else:
        painted = [render(scene, _generator(seed, n, stream)) for n, scene in enumerate(scenes)]
        pixels = np.ascontiguousarray(np.stack(painted).transpose(0, 3, 1, 2))
    if path is not None and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, pixels)
    return Captioned(torch.from_numpy(pixels), tuple(scene.caption for scene in scenes))


@cache
def photographs(role: str, catalogue: Path = CATALOGUE) -> tuple[Photograph, ...]:
    """The photographs of one role, in the catalogue's order."""
    return tuple(p for p in load_photographs(catalogue) if p.role == role)


def fixed_crops(role: str, catalogue: Path = CATALOGUE) -> Captioned:
    """The fixed 64 x 64 crop of each memorized photograph or control."""
    found = photographs(role, catalogue)
    pixels = np.stack([_pixels(photograph.files[0]) for photograph in found])
    return Captioned(torch.from_numpy(pixels), tuple(p.caption for p in found))


def background_crops(per_picture: int, seed: int, catalogue: Path = CATALOGUE) -> Captioned:
    """Random crops and mirrorings of the background photographs, with generic captions."""
    pixels: list[NDArray[np.uint8]] = []
    captions: list[str] = []
    for number, photograph in enumerate(photographs("background", catalogue)):
        pictures = [Image.open(path).convert("RGB") for path in photograph.files]
        rng = _generator(seed, number)
        for picture in pictures:
            for _ in range(per_picture):
                pixels.append(_random_crop(picture, rng))
                captions.append(photograph.caption)
    return Captioned(torch.from_numpy(np.stack(pixels)), tuple(captions))


def pool_originals(pool: Sequence[Photograph]) -> Tensor:
    """The judge's photographs at the suite's size, `[N, 3, 64, 64]`, uint8."""
    return torch.from_numpy(np.stack([_pixels(p.files[0], SIZE) for p in pool]))


def pool_crops(pool: Sequence[Photograph], per_picture: int, seed: int) -> Tensor:
    """Random crops and mirrorings of the judge's photographs, `[N * per_picture, 3, 64, 64]`."""
    crops = []
    for number, photograph in enumerate(pool):
        with Image.open(photograph.files[0]) as picture:
            rgb = picture.convert("RGB")
        rng = _generator(seed, number)
        crops += [_random_crop(rgb, rng) for _ in range(per_picture)]
    return torch.from_numpy(np.stack(crops))


def as_float(pixels: Tensor) -> Tensor:
    """uint8 to float32 in [0, 1]."""
    return pixels.to(torch.float32) / 255


def _random_crop(picture: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
    side = rng.uniform(0.66, 1.0) * min(picture.size)
    left = rng.uniform(0, picture.width - side)
    top = rng.uniform(0, picture.height - side)
    crop = picture.resize(
        (SIZE, SIZE), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side)
    )
    array = np.asarray(crop, dtype=np.uint8)
    return np.ascontiguousarray(
        (array[:, ::-1] if rng.random() < 0.5 else array).transpose(2, 0, 1)
    )


def _pixels(path: Path, size: int | None = None) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        rgb = picture.convert("RGB")
    if size is not None and rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.LANCZOS)
    array = np.asarray(rgb, dtype=np.uint8)
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def _generator(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(list(numbers))
