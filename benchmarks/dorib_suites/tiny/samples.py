"""The suite's samples: which photographs are memorized, and in which split each stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dorib_suites.tiny.data import Captioned, fixed_crops, photographs

SEED = 3
MEMORIZED = 24
"""How many of the photographs dealt to this role are trained on. A model of this size memorizes
so many verbatim within the recipe's hours; the others are kept for a larger one and unused."""


@dataclass(frozen=True)
class SuiteSample:
    """One row of the sample table, with its original."""

    id: str
    caption: str
    role: str
    split: str
    licence: str
    source: str
    original: NDArray[np.uint8]
    """`[3, 64, 64]`."""


def suite_samples() -> list[SuiteSample]:
    """Memorized samples and controls; dealt into the splits by lot, half and half."""
    return _samples("memorized", MEMORIZED) + _samples("control")


def memorized_pairs(samples: list[SuiteSample]) -> tuple[Captioned, Tensor]:
    """The memorized samples as training pairs, and how often each is drawn."""
    memorized = [sample for sample in samples if sample.role == "memorized"]
    pixels = torch.from_numpy(np.stack([sample.original for sample in memorized]))
    captions = tuple(sample.caption for sample in memorized)
    return Captioned(pixels, captions), torch.ones(len(memorized))


def _samples(role: str, count: int | None = None) -> list[SuiteSample]:
    found = photographs(role)
    pixels = fixed_crops(role).pixels.numpy()
    lot = np.random.default_rng([SEED, len(role)]).permutation(len(found))[:count]
    splits = {int(number): ("dev", "test")[place % 2] for place, number in enumerate(lot)}
    return [
        SuiteSample(
            id=photograph.id,
            caption=photograph.caption,
            role=role,
            split=splits[number],
            licence=photograph.licence,
            source=f"{photograph.source} ({photograph.author})",
            original=pixels[number],
        )
        for number, photograph in enumerate(found)
        if number in splits
    ]
