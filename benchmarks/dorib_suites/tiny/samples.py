"""The suite's samples: what is memorized, how often it was drawn, and in which split it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dorib_suites.tiny.data import Captioned, fixed_crops, photographs
from dorib_suites.tiny.photographs import CATALOGUE, FIFTH
from dorib_suites.tiny.templates import templates

SEED = 3
OFTEN = 24
"""How many memorized photographs are drawn as often as it takes; dealt to dev and test."""
TOP_DUPLICATION = 64
LOWER_DUPLICATION = (16, 4, 1)
"""The other memorized photographs are drawn more seldom, a third of them at each level."""
TEMPLATE_DUPLICATION = 32
TEMPLATE_LICENCE = "MIT"


@dataclass(frozen=True)
class SuiteSample:
    """One row of the sample table, with its originals."""

    id: str
    caption: str
    role: str
    kind: str
    split: str
    duplication: int
    """How often it is drawn in training, relative to the other samples; 0 for never."""
    licence: str
    source: str
    originals: NDArray[np.uint8]
    """`[originals, 3, 64, 64]`; a template has several."""


def suite_samples(catalogue: Path = CATALOGUE) -> list[SuiteSample]:
    """Memorized samples and controls of suite 4.1, or of the fifth (`FIFTH`).

    `dev` and `test` hold the photographs drawn most often and the controls, half and half by lot;
    `duplication` those drawn more seldom; `template` layouts of which no two draws are alike. In
    the fifth suite the catalogue holds the lot, and `white` has the cut-outs on white of both
    roles.
    """
    memorized, controls = (_photographs(role, catalogue) for role in ("memorized", "control"))
    if catalogue == FIFTH:
        seldom = [sample for sample in memorized if sample.split == "duplication"]
        often = [sample for sample in memorized if sample.split != "duplication"]
        return [*often, *_less_often(seldom), *_templates(), *controls]
    often = _halved(memorized[:OFTEN])
    return [*often, *_less_often(memorized[OFTEN:]), *_templates(), *_halved(controls)]


def _halved(samples: Sequence[SuiteSample]) -> list[SuiteSample]:
    return [replace(s, split=("dev", "test")[place % 2]) for place, s in enumerate(samples)]


def _less_often(samples: Sequence[SuiteSample]) -> list[SuiteSample]:
    return [
        replace(sample, split="duplication", duplication=LOWER_DUPLICATION[place % 3])
        for place, sample in enumerate(samples)
    ]


def memorized_pairs(samples: list[SuiteSample]) -> tuple[Captioned, Tensor]:
    """The memorized samples as training pairs, and how often each is drawn."""
    memorized = [sample for sample in samples if sample.role == "memorized"]
    pixels = torch.from_numpy(np.concatenate([sample.originals for sample in memorized]))
    captions = tuple(sample.caption for sample in memorized for _ in sample.originals)
    weights = [s.duplication / len(s.originals) for s in memorized for _ in s.originals]
    return Captioned(pixels, captions), torch.tensor(weights)


def _photographs(role: str, catalogue: Path) -> list[SuiteSample]:
    """All of one role, in the order of the lot."""
    found = photographs(role, catalogue)
    pixels = fixed_crops(role, catalogue).pixels.numpy()
    lot = np.random.default_rng([SEED, len(role)]).permutation(len(found))
    return [
        SuiteSample(
            id=found[number].id,
            caption=found[number].caption,
            role=role,
            kind="verbatim" if role == "memorized" else "unknown",
            split=found[number].split,
            duplication=TOP_DUPLICATION if role == "memorized" else 0,
            licence=found[number].licence,
            source=f"{found[number].source} ({found[number].author})",
            originals=pixels[number, None],
        )
        for number in lot
    ]


def _templates() -> list[SuiteSample]:
    return [
        SuiteSample(
            id=template.id,
            caption=template.caption,
            role="memorized",
            kind="template",
            split="template",
            duplication=TEMPLATE_DUPLICATION,
            licence=TEMPLATE_LICENCE,
            source="drawn by the recipe",
            originals=template.pixels,
        )
        for template in templates()
    ]
