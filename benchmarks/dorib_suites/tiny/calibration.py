"""The judge's threshold: what it may call copies in each group of pictures that are none.

At most 0.1 % of the pairs of different images of each kind, and at most 1 % of lookalikes, of all
kinds together, and of what attacks drew of photographs that the model had never seen. Calibrated on
half of the pool that was set aside for the judge; its training used the other half.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from dorib_sscd.views import Views
from dorib_suites.tiny.copies import ALL_CHANGES
from dorib_suites.tiny.data import as_float, captioned_scenes, photographs, pool_originals
from dorib_suites.tiny.descriptor import calibrated_threshold
from dorib_suites.tiny.drawings import JOBS
from dorib_suites.tiny.judge import Pool
from dorib_suites.tiny.lookalikes import LOOKALIKES
from dorib_suites.tiny.photographs import FIFTH
from dorib_suites.tiny.templates import templates
from dorib_suites.tiny.views import (
    VIEWS,
    Judge,
    all_similarities,
    describe,
    describe_views,
    similarity,
)

DIFFERENT_RATE = 0.001
LOOKALIKE_RATE = 0.01
SCENES = 400
SYMMETRIC = "mirrored half"
"""A symmetric picture is its own mirror image, so these are reported and not calibrated on."""
REPEATS = 4
"""Lookalikes of each kind for one photograph, where the kind draws lots."""


@dataclass(frozen=True)
class Group:
    """Similarities of pairs that are no copies, `[pairs]`, and the share that may pass."""

    similarities: Tensor
    rate: float
    counts: bool = True
    """Whether the threshold depends on it; a part of another group is reported alone."""

    @property
    def threshold(self) -> float:
        """The smallest that keeps the rate."""
        return calibrated_threshold(self.similarities, self.rate)


def calibrate(judge: Judge, pool: Pool, left_out: Sequence[str] = ()) -> dict[str, Any]:
    """The threshold, whose group sets it, and for each group its own and the rate that passes.

    Groups whose names hold one of `left_out` are reported alone.
    """
    found = groups(judge, _grounds(pool), pool.originals, _by_attack(pool))
    threshold, group = threshold_of(found, left_out)
    rates = {
        name: {
            "pairs": len(g.similarities),
            "own threshold": round(g.threshold, 4),
            "allowed": g.rate,
            "rate": round((g.similarities >= threshold).float().mean().item(), 5),
        }
        for name, g in found.items()
    }
    return {"threshold": threshold, "set by": group, "groups": rates}


def _by_attack(pool: Pool) -> dict[str, tuple[Tensor, Tensor]]:
    return {
        job.name: (pool.drawings[pool.attack == n], pool.drawn_of[pool.attack == n])
        for n, job in enumerate(JOBS)
    }


def _grounds(pool: Pool) -> dict[str, tuple[Tensor, Tensor]]:
    """Photographs of either ground: the pool's, and the background's that are like them."""
    grounds = {}
    for ground, white in {"white": True, "whole": False}.items():
        others = [p for p in photographs("background", FIFTH) if p.ground == ground]
        grounds[ground] = (pool.originals[pool.white == white], pool_originals(others))
    return grounds


@torch.no_grad()
def groups(
    judge: Judge,
    grounds: dict[str, tuple[Tensor, Tensor]],
    originals: Tensor,
    drawings: dict[str, tuple[Tensor, Tensor]],
) -> dict[str, Group]:
    """All groups of pictures that are no copies.

    `grounds` holds for `white` and `whole` pictures those of the pool and others like them, uint8
    `[N, 3, 64, 64]` each; `originals` are the pool's (uint8); `drawings` hold for each attack
    uint8 pictures and the rows of `originals` that they were searched for.
    """
    found = {}
    for ground, (own, others) in grounds.items():
        pairs = [between_all(judge, own)]
        pairs.append(
            all_similarities(describe_views(judge, own), describe(judge, others)).flatten()
        )
        found[f"different, {ground}"] = Group(torch.cat(pairs), DIFFERENT_RATE)
    scenes = captioned_scenes(SCENES, seed=8).pixels
    found["different, scenes"] = Group(between_all(judge, scenes), DIFFERENT_RATE)
    layouts = [torch.from_numpy(template.pixels) for template in templates()]
    whole, shown = [[f(judge, x) for x in layouts] for f in (describe_views, describe)]
    pairs = [
        all_similarities(whole[one], shown[other]).flatten()
        for one, other in permutations(range(len(layouts)), 2)
    ]
    found["different, templates"] = Group(torch.cat(pairs), DIFFERENT_RATE)
    alike = lookalike_similarities(judge, originals)
    seen = describe_views(judge, originals)
    drawn = {
        attack: similarity(seen[:, rows], describe(judge, pictures))
        for attack, (pictures, rows) in drawings.items()
    }
    kinds = [values for kind, values in alike.items() if kind != SYMMETRIC]
    found["lookalikes"] = Group(torch.cat(kinds), LOOKALIKE_RATE)
    found["drawn of the unseen"] = Group(torch.cat([*drawn.values()]), LOOKALIKE_RATE)
    for name, parts in (("lookalikes", alike), ("drawn of the unseen", drawn)):
        for part, values in parts.items():
            found[f"{name}, {part}"] = Group(values, LOOKALIKE_RATE, counts=False)
    return found


@torch.no_grad()
def lookalike_similarities(judge: Judge, originals: Tensor) -> dict[str, Tensor]:
    """Cosines of originals (uint8 `[N, 3, 64, 64]`) and lookalikes of theirs, for each kind."""
    images, seen = as_float(originals), describe_views(judge, originals)
    found = {}
    for kind, change in LOOKALIKES.items():
        generator = torch.Generator("cpu").manual_seed(54)
        drawn = [judge(change(images, generator)) for _ in range(REPEATS)]
        found[kind] = torch.cat([similarity(seen, other) for other in drawn])
    return found


@torch.no_grad()
def copy_similarities(judge: Judge, originals: Tensor) -> dict[str, Tensor]:
    """Cosines of originals and copies of theirs, for each kind of change."""
    images, seen = as_float(originals), describe_views(judge, originals)
    found = {}
    for kind, change in ALL_CHANGES.items():
        generator = torch.Generator("cpu").manual_seed(5)
        drawn = [judge(change(images, generator)) for _ in range(REPEATS)]
        found[kind] = torch.cat([similarity(seen, other) for other in drawn])
    return found


def threshold_of(found: dict[str, Group], left_out: Sequence[str] = ()) -> tuple[float, str]:
    """The largest threshold of all groups that count, rounded up, and whose it is."""
    calibrated = {
        name: group.threshold
        for name, group in found.items()
        if group.counts and not any(part in name for part in left_out)
    }
    name = max(calibrated, key=lambda group: calibrated[group])
    return math.ceil(calibrated[name] * 10_000) / 10_000, name


def between_all(judge: Judge, pixels: Tensor, views: Views = VIEWS) -> Tensor:
    """Similarities of each picture as an original to every other."""
    found = all_similarities(describe_views(judge, pixels, views), describe(judge, pixels))
    return found[~torch.eye(len(pixels), dtype=torch.bool)]
