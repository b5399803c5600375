"""Claim 3: do the picks of two methods agree for the same trigger?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from dorib_locality import findings
from dorib_locality.agreement import RANDOM_DRAWS, MethodTable, positions, random_overlap
from dorib_locality.geometry import Indices
from dorib_locality.overlap import (
    Counts,
    block_counts,
    random_counts,
    share_overlap,
    tabulate,
    transformer_block,
)


def agreement_of_methods(
    first: MethodTable,
    second: MethodTable,
    chosen: Indices,
    labels: Sequence[str],
    rng: np.random.Generator,
) -> findings.MethodPair:
    """How far the picks of two methods agree, for the `chosen` triggers; `labels` are theirs.

    Neurons of value layers and weights of feed-forward layers are no common unit. What both
    methods choose among is transformer blocks, each with one layer of either kind: so the two
    spreads over blocks are compared, beside the sizes of the picks. `rng` draws random picks.
    """
    kept = chosen[first.there[chosen] & second.there[chosen]]
    names = np.array([labels[i] for i in positions(chosen, kept)])
    blocks = [
        block
        for block in dict.fromkeys(map(transformer_block, first.table.layers))
        if block in set(map(transformer_block, second.table.layers))
    ]
    (ours, places), (theirs, other_places) = (
        block_counts(method.table, blocks) for method in (first, second)
    )
    ours, theirs = ours[kept], theirs[kept]
    rows, columns = np.nonzero(names[:, None] != names[None, :])
    same = share_overlap(ours, theirs)
    usable = np.flatnonzero(np.isfinite(same))
    totals = first.table.sizes[kept].sum(axis=1), second.table.sizes[kept].sum(axis=1)
    return findings.MethodPair(
        first=first.mitigation,
        second=second.mitigation,
        blocks=tuple(blocks),
        one_trigger=findings.Group.of("one trigger", same),
        triggers_of_different_images=findings.Group.of(
            "triggers of different images", share_overlap(ours[rows], theirs[columns])
        ),
        random=_random_spread(ours[usable], theirs[usable], places, other_places, rng),
        first_shares=_shares(ours),
        second_shares=_shares(theirs),
        same_places=_same_places(first, second, kept),
        rank_correlation=_rank_correlation(*totals),
    )


def _random_spread(
    ours: Counts, theirs: Counts, places: Counts, other_places: Counts, rng: np.random.Generator
) -> findings.RandomOverlap | None:
    if not len(ours):
        return None
    drawn = np.array(
        [
            share_overlap(
                random_counts(ours, places, rng), random_counts(theirs, other_places, rng)
            ).mean()
            for _ in range(RANDOM_DRAWS)
        ]
    )
    return random_overlap(drawn, None)


def _shares(counts: Counts) -> tuple[float, ...] | None:
    """Mean over the picks that are not empty."""
    totals = counts.sum(axis=1, keepdims=True)
    full = totals[:, 0] > 0
    if not full.any():
        return None
    return tuple((counts[full] / totals[full]).mean(axis=0).tolist())


def _same_places(first: MethodTable, second: MethodTable, kept: Indices) -> findings.Group | None:
    shared = {
        layer: places
        for layer, places in first.populations.items()
        if second.populations.get(layer) == places
    }
    if first.unit != second.unit or not shared:
        return None
    joint = tabulate(
        [*(first.picks[i] for i in kept), *(second.picks[i] for i in kept)], shared
    ).overlap()
    rows = np.arange(len(kept))
    return findings.Group.of("one trigger, place by place", joint[rows, rows + len(kept)])


def _rank_correlation(first: Counts, second: Counts) -> float | None:
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)
