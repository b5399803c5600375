"""The suite's samples: which photograph is memorized how often, and in which split it stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dorib_suites.tiny.data import Captioned, fixed_crops, photographs
from dorib_suites.tiny.templates import templates

SEED = 3
LEVELS = {4: 8, 1: 8}
"""Lower duplication levels and how many photographs each has; all others are at the top one."""
TOP_LEVEL = 16
DEGREE_SPLIT = "degree"


@dataclass(frozen=True)
class SuiteSample:
    """One row of the sample table, with its originals."""

    id: str
    caption: str
    role: str
    kind: str
    split: str
    duplication: int
    """How often it is drawn in training, relative to the least duplicated; 0: never."""
    licence: str
    source: str
    originals: NDArray[np.uint8]
    """`[images, 3, 64, 64]`."""


def suite_samples() -> list[SuiteSample]:
    """Memorized samples and controls; levels and splits are dealt by lot."""
    samples = _photograph_samples("memorized") + _photograph_samples("control")
    for template in templates():
        samples.append(
            SuiteSample(
                id=template.id,
                caption=template.caption,
                role="memorized",
                kind="template",
                split=DEGREE_SPLIT,
                duplication=TOP_LEVEL,
                licence="MIT",
                source="drawn by dorib_suites.tiny.templates",
                originals=template.pixels,
            )
        )
    return samples


def memorized_pairs(samples: list[SuiteSample]) -> tuple[Captioned, Tensor]:
    """The memorized samples as training pairs, and how often each pair is drawn."""
    memorized = [sample for sample in samples if sample.role == "memorized"]
    pixels = np.concatenate([sample.originals for sample in memorized])
    captions = tuple(s.caption for s in memorized for _ in range(len(s.originals)))
    weights = [s.duplication / len(s.originals) for s in memorized for _ in range(len(s.originals))]
    return Captioned(torch.from_numpy(pixels), captions), torch.tensor(weights)


def _photograph_samples(role: str) -> list[SuiteSample]:
    found = photographs(role)
    pixels = fixed_crops(role).pixels.numpy()
    order = [int(n) for n in np.random.default_rng([SEED, len(role)]).permutation(len(found))]
    levels: dict[int, int] = {}
    if role == "memorized":
        rest = list(order)
        for level, count in LEVELS.items():
            levels |= {number: level for number in rest[:count]}
            rest = rest[count:]
        order = rest
    splits = {number: ("dev", "test")[place % 2] for place, number in enumerate(order)}
    return [
        SuiteSample(
            id=photograph.id,
            caption=photograph.caption,
            role=role,
            kind="verbatim",
            split=splits.get(number, DEGREE_SPLIT),
            duplication=levels.get(number, TOP_LEVEL) if role == "memorized" else 0,
            licence=photograph.licence,
            source=f"{photograph.source} ({photograph.author})",
            originals=pixels[number : number + 1],
        )
        for number, photograph in enumerate(found)
    ]
