"""Overlap of picks: intersection over union, and what random picks of the same size give."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import hypergeom

from dorib import DoribError, Edit, MaskWeights, ScaleOutputs
from dorib_locality.geometry import Floats

LARGEST_DEVIATION = 8

Counts = NDArray[np.int64]
Picks = Mapping[str, Counts]
"""By layer: positions of the picked neurons or weights, each once."""


@dataclass(frozen=True)
class PickTable:
    """How many places each of n picks takes in each of L layers, and how many any two share."""

    layers: tuple[str, ...]
    populations: Counts
    """`[L]`: neurons or weights that the method chooses from."""
    sizes: Counts
    """`[n, L]`"""
    common: Counts
    """`[n, n, L]`"""

    def overlap(self, *, counting_empty: bool = False) -> Floats:
        """Intersection over union of each two picks, all layers together: `[n, n]`."""
        common, sizes = self.common.sum(axis=2), self.sizes.sum(axis=1)
        return iou(common, sizes, counting_empty=counting_empty)

    def layer_overlap(self, layer: int, *, counting_empty: bool = False) -> Floats:
        """The same in one layer."""
        common, sizes = self.common[:, :, layer], self.sizes[:, layer]
        return iou(common, sizes, counting_empty=counting_empty)


def picks_of(edit: Edit) -> Picks:
    """What a per-sample edit of one sample picks.

    Of scaled outputs, the neurons whose scale is not 1; of masked weights, those that become 0.

    Raises:
        DoribError: the edit picks nothing that could be compared.
    """
    if len(edit.samples) == 1 and isinstance(edit.change, MaskWeights):
        return {name: rows[0].numpy() for name, rows in edit.change.indices.items()}
    if len(edit.samples) == 1 and isinstance(edit.change, ScaleOutputs):
        changed = {name: scales[0] != 1 for name, scales in edit.change.scales.items()}
        return {name: mask.nonzero()[:, 0].numpy() for name, mask in changed.items()}
    raise DoribError(
        "locality: only per-sample edits that scale outputs or mask weights pick anything; leave "
        "the other mitigations out"
    )


def tabulate(picks: Sequence[Picks], populations: Mapping[str, int]) -> PickTable:
    """Count what `picks` take and share.

    `populations` names the layers that are chosen from, in order, with their number of places.
    """
    sizes = np.zeros((len(picks), len(populations)), dtype=np.int64)
    common = np.zeros((len(picks), len(picks), len(populations)), dtype=np.int64)
    for column, (layer, places) in enumerate(populations.items()):
        rows = [np.unique(pick.get(layer, np.zeros(0, np.int64))) for pick in picks]
        starts = np.cumsum([0, *map(len, rows)])
        positions = np.concatenate(rows)
        ones = np.ones(len(positions), dtype=np.int64)
        table = csr_array((ones, positions, starts), shape=(len(picks), places))
        common[:, :, column] = (table @ table.T).toarray()
        sizes[:, column] = np.diff(starts)
    return PickTable(
        tuple(populations), np.array(list(populations.values()), np.int64), sizes, common
    )


def iou(common: Counts, sizes: Counts, *, counting_empty: bool = False) -> Floats:
    """Intersection over union `[n, n]`.

    Not a number where either pick is empty: a method that picks nothing names no place, so that it
    neither agrees nor disagrees about it. `counting_empty` counts these pairs: two empty picks
    agree (1), an empty one and another do not (0), as in Kowalczuk et al. (arXiv 2507.16880v3).
    """
    union = sizes[:, None] + sizes[None, :] - common
    overlap = _quotient(common, union)
    if counting_empty:
        overlap[union == 0] = 1
    else:
        overlap[sizes == 0] = overlap[:, sizes == 0] = np.nan
    return overlap


def expected_iou(first: Counts, second: Counts, populations: Counts) -> Floats:
    """Expected intersection over union of random picks, layer by layer of the same size: `[P]`.

    In each layer the intersection is hypergeometric, and the layers are independent. Not a number
    where both picks are empty.

    Args:
        first: `[P, L]`, how many places the first of each pair takes.
        second: `[P, L]`, and the second.
        populations: `[L]`, how many places there are.
    """
    expected = np.full(len(first), np.nan)
    for pair, sizes in enumerate(zip(first, second, strict=True)):
        total = int(sizes[0].sum() + sizes[1].sum())
        if total:
            shared, chance = _shared_by_chance(*sizes, populations)
            expected[pair] = (chance * shared / (total - shared)).sum()
    return expected


def _shared_by_chance(first: Counts, second: Counts, populations: Counts) -> tuple[Counts, Floats]:
    """What the intersection of two random picks may be, all layers together, and how likely."""
    lowest, chance = 0, np.ones(1)
    for a, b, n in zip(first.tolist(), second.tolist(), populations.tolist(), strict=True):
        mean = a * b / n
        deviation = (mean * (1 - a / n) * (n - b) / max(n - 1, 1)) ** 0.5
        # Beyond this many deviations lies less than rounding, but the work grows with the layer.
        reach = LARGEST_DEVIATION * deviation + LARGEST_DEVIATION
        low = max(0, a + b - n, int(mean - reach))
        high = min(a, b, int(mean + reach) + 1)
        lowest += low
        chance = np.convolve(chance, hypergeom.pmf(np.arange(low, high + 1), n, a, b))
    return lowest + np.arange(len(chance)), chance


def random_iou(
    first: Counts, second: Counts, populations: Counts, rng: np.random.Generator, draws: int
) -> Floats:
    """Intersection over union of random picks, layer by layer of the same size: `[draws, P]`.

    Arguments as of `expected_iou`.
    """
    drawn = rng.hypergeometric(first, populations - first, second, size=(draws, *first.shape))
    shared = drawn.sum(axis=2)
    union = (first + second).sum(axis=1) - shared
    return _quotient(shared, union)


def _quotient(shared: Counts, union: Counts) -> Floats:
    quotient: Floats = np.divide(shared, union, out=np.full(union.shape, np.nan), where=union > 0)
    return quotient


def transformer_block(layer: str) -> str:
    """The transformer block that a layer belongs to: its name up to the block's number."""
    found = re.match(r".*transformer_blocks\.\d+(?=\.)", layer)
    return found.group() if found else layer.rpartition(".")[0]


def block_counts(table: PickTable, blocks: Sequence[str]) -> tuple[Counts, Counts]:
    """Picks `[n, B]` and places `[B]` of each of `blocks`; layers elsewhere are left out."""
    inside = np.array([[transformer_block(layer) == b for layer in table.layers] for b in blocks])
    columns = inside.T.astype(np.int64)
    return table.sizes @ columns, table.populations @ columns


def share_overlap(first: Counts, second: Counts) -> Floats:
    """Intersection over union of how two picks are spread over blocks, of `[P, B]` counts: `[P]`.

    Each is first divided by its total, because the two may count different things: neurons and
    weights. The sum of the smaller shares over the sum of the larger; 1 where the spreads are the
    same, 0 where they share no block, not a number where one is empty.
    """
    totals = first.sum(axis=1, keepdims=True), second.sum(axis=1, keepdims=True)
    there = (totals[0] > 0) & (totals[1] > 0)
    p, q = (
        np.divide(counts, total, out=np.full(counts.shape, np.nan), where=there)
        for counts, total in zip((first, second), totals, strict=True)
    )
    overlap: Floats = np.minimum(p, q).sum(axis=1) / np.maximum(p, q).sum(axis=1)
    return overlap


def random_counts(sizes: Counts, populations: Counts, rng: np.random.Generator) -> Counts:
    """Random picks of the same totals as `sizes` `[P, B]`, from all blocks' places: `[P, B]`."""
    return np.stack(
        [rng.multivariate_hypergeometric(populations, int(size)) for size in sizes.sum(axis=1)]
    )
