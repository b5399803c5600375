"""Claim 3: do a method's picks for one image agree between its triggers?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dorib_locality import findings
from dorib_locality.geometry import Floats, Indices
from dorib_locality.overlap import Picks, PickTable, expected_iou, random_iou
from dorib_locality.pairs import between, finite_mean, separation, upper, within

RANDOM_DRAWS = 1000


@dataclass(frozen=True)
class MethodTable:
    """One mitigation's picks: of the triggers, of the same triggers again, and of the prompts."""

    mitigation: str
    unit: findings.Unit
    picks: Sequence[Picks]
    """In this order; empty ones where the mitigation failed."""
    populations: dict[str, int]
    """Neurons or weights that it chooses from, by layer."""
    table: PickTable
    there: NDArray[np.bool_]
    """Which of `picks` were made at all."""
    triggers: int
    prompts: dict[str, int]
    """By sample: its prompt's row in the table."""


def agreement(
    method: MethodTable, chosen: Indices, labels: Sequence[str], rng: np.random.Generator
) -> findings.MethodPicks:
    """How far the picks of one method agree, for the `chosen` triggers; `labels` are theirs.

    `rng` deals labels and draws random picks.
    """
    table = method.table
    overlap, counted = (
        _of_made(table.overlap(counting_empty=counting), method.there) for counting in (False, True)
    )
    own = overlap[np.ix_(chosen, chosen)]
    names = list(dict.fromkeys(labels))
    prompts = np.array([method.prompts[name] for name in names])
    behind = np.array([method.prompts[label] for label in labels])
    totals = table.sizes.sum(axis=1)
    there = chosen[method.there[chosen]]
    return findings.MethodPicks(
        mitigation=method.mitigation,
        unit=method.unit,
        places=int(table.populations.sum()),
        sizes=findings.Group.of("number of picks", totals[there].astype(np.float64)),
        empty=int((totals[there] == 0).sum()),
        one_trigger_other_noise=findings.Group.of(
            "one trigger, other noise", overlap[chosen, chosen + method.triggers]
        ),
        triggers_of_one_image=findings.Group.of("triggers of one image", within(own, labels)),
        trigger_and_prompt=findings.Group.of("a trigger and its prompt", overlap[chosen, behind]),
        triggers_of_different_images=findings.Group.of(
            "triggers of different images", between(own, labels)
        ),
        prompts_of_different_images=findings.Group.of(
            "prompts of different images", upper(overlap[np.ix_(prompts, prompts)])
        ),
        random=_random_of_pairs(table, own, chosen, labels, rng),
        counting_empty=_means(counted, chosen, labels, prompts),
        layers=tuple(_layers(method, chosen, labels, prompts)),
        test=findings.SeparationTest.of(separation(1 - own, labels, rng)),
    )


def _of_made(overlap: Floats, there: NDArray[np.bool_]) -> Floats:
    """Without the picks that failed: those are not empty, but unknown."""
    overlap[~there] = overlap[:, ~there] = np.nan
    return overlap


def _means(
    overlap: Floats, chosen: Indices, labels: Sequence[str], prompts: Indices
) -> findings.MeanOverlap:
    own = overlap[np.ix_(chosen, chosen)]
    return findings.MeanOverlap(
        triggers_of_one_image=finite_mean(within(own, labels)),
        triggers_of_different_images=finite_mean(between(own, labels)),
        prompts_of_different_images=finite_mean(upper(overlap[np.ix_(prompts, prompts)])),
    )


def positions(chosen: Indices, kept: Indices) -> list[int]:
    """Where in `chosen` each of `kept` stands."""
    return [int(np.flatnonzero(chosen == index)[0]) for index in kept]


def _pairs_of_one_image(own: Floats, labels: Sequence[str]) -> tuple[Indices, Indices]:
    """Rows and columns of the pairs that have an overlap."""
    names = np.asarray(labels)
    same = np.triu(names[:, None] == names[None, :], k=1) & np.isfinite(own)
    rows, columns = np.nonzero(same)
    return rows, columns


def _random_of_pairs(
    table: PickTable,
    own: Floats,
    chosen: Indices,
    labels: Sequence[str],
    rng: np.random.Generator,
) -> findings.RandomOverlap | None:
    rows, columns = _pairs_of_one_image(own, labels)
    if not len(rows):
        return None
    first, second = table.sizes[chosen[rows]], table.sizes[chosen[columns]]
    expected = expected_iou(first, second, table.populations)
    drawn = random_iou(first, second, table.populations, rng, RANDOM_DRAWS).mean(axis=1)
    return random_overlap(drawn, float(expected.mean()))


def random_overlap(drawn: Floats, expected: float | None) -> findings.RandomOverlap:
    """Summary of a group's mean overlap in each draw of random picks, `[draws]`."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return findings.RandomOverlap(
        expected=expected,
        mean=float(drawn.mean()),
        low=float(low),
        high=float(high),
        draws=len(drawn),
    )


def _layers(
    method: MethodTable, chosen: Indices, labels: Sequence[str], prompts: Indices
) -> Iterator[findings.LayerOverlap]:
    table = method.table
    there = chosen[method.there[chosen]]
    for column, layer in enumerate(table.layers):
        overlap, counted = (
            _of_made(table.layer_overlap(column, counting_empty=counting), method.there)
            for counting in (False, True)
        )
        rows, columns = _pairs_of_one_image(overlap[np.ix_(chosen, chosen)], labels)
        first, second = table.sizes[chosen[rows], column], table.sizes[chosen[columns], column]
        places = table.populations[column : column + 1]
        sizes = table.sizes[there, column]
        yield findings.LayerOverlap(
            layer=layer,
            places=int(table.populations[column]),
            mean_size=float(sizes.mean()) if len(sizes) else 0.0,
            empty=int((sizes == 0).sum()),
            random=finite_mean(expected_iou(first[:, None], second[:, None], places)),
            counting_empty=_means(counted, chosen, labels, prompts),
            **_means(overlap, chosen, labels, prompts).model_dump(),
        )
