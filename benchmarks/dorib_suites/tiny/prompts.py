"""Writing the prompts of no sample: those utility is measured on, and general pairs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dorib_suites.tiny.data import photographs
from dorib_suites.tiny.photographs import FIFTH, Photograph
from dorib_suites.tiny.scenes import SIZE, draw_scene, render

UTILITY_PROMPTS = 128
PHOTOGRAPH_EVERY = 4
"""The utility prompt out of so many that asks for a photograph."""
GENERAL_SCENES = 256
GENERAL_CROPS = 2
"""Of each background photograph that no utility prompt asks for: in all about as many as scenes."""
FOLDER = "general"
"""Of the general images, in the suite's folder."""


def write_prompts(folder: Path) -> None:
    """Write the captions that utility is measured on, and the pairs that mitigations may use.

    Every fourth utility prompt asks for a background photograph: a mitigation that spoils all
    photographs and leaves the scenes alone has not kept the model's utility. General pairs are of
    the kinds that the model was trained on beside the samples: scenes, and crops of background
    photographs, whole ones and cut-outs on white. The layouts of the template samples are no
    general data, and what a utility prompt asks for is none either.
    """
    scenes = [draw_scene(_rng(4, n)).caption for n in range(UTILITY_PROMPTS)]
    background = {photograph.caption: photograph for photograph in photographs("background", FIFTH)}
    found = sorted(background)
    held_out = UTILITY_PROMPTS // PHOTOGRAPH_EVERY
    lot = [found[i] for i in _rng(9).permutation(len(found))]
    utility = [
        {"caption": lot[n // PHOTOGRAPH_EVERY], "kind": "photograph"}
        if n % PHOTOGRAPH_EVERY == PHOTOGRAPH_EVERY - 1
        else {"caption": scene, "kind": "scene"}
        for n, scene in enumerate(scenes)
    ]
    write_lines(folder / "utility.jsonl", utility)
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    (folder / FOLDER).mkdir(parents=True)
    kept = [background[caption] for caption in sorted(lot[held_out:])]
    rows = [*_scenes(folder), *_photographs(folder, kept)]
    write_lines(folder / "general.jsonl", rows)


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a JSONL table."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _scenes(folder: Path) -> Iterator[dict[str, str]]:
    for number in range(GENERAL_SCENES):
        scene = draw_scene(_rng(6, number))
        name = f"{FOLDER}/scene-{number:03d}.png"
        Image.fromarray(render(scene, _rng(6, number, 1))).save(folder / name, optimize=True)
        yield {"caption": scene.caption, "image": name, "kind": "scene", "licence": "MIT"}


def _photographs(folder: Path, chosen: Sequence[Photograph]) -> Iterator[dict[str, str]]:
    for photograph in chosen:
        for file in photograph.files[:GENERAL_CROPS]:
            name = f"{FOLDER}/{file.name}"
            with Image.open(file) as picture:
                small = picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
            small.save(folder / name, optimize=True)
            yield {
                "caption": photograph.caption,
                "image": name,
                "kind": "photograph",
                "licence": photograph.licence,
                "source": f"{photograph.source} ({photograph.author})",
            }


def _rng(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(list(numbers))
