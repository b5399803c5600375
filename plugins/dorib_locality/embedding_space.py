"""Claim 1: are the triggers of one image spread over embedding space as widely as prompts?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dorib_locality import findings
from dorib_locality.geometry import (
    MEASURES,
    Floats,
    Indices,
    Measure,
    distances,
    principal_projection,
    row_by_row,
)
from dorib_locality.pairs import between, separation, upper, within


@dataclass(frozen=True)
class Embedded:
    """All embeddings as flat vectors, float64 `[n, tokens * width]`."""

    tokens: int
    width: int
    triggers: Floats
    starting_points: Floats | None
    prompts: dict[str, Floats]
    """By sample, `[tokens * width]`."""
    random_prompts: Floats


def embedding_space(
    embedded: Embedded,
    chosen: Indices,
    labels: Sequence[str],
    starts: Sequence[int],
    rng: np.random.Generator,
) -> findings.EmbeddingSpace:
    """Claim 1, for the `chosen` triggers; `labels` and `starts` are theirs."""
    triggers = embedded.triggers[chosen]
    begun = None if embedded.starting_points is None else embedded.starting_points[chosen]
    own = np.stack([embedded.prompts[label] for label in labels])
    spreads = tuple(
        _spread(measure, triggers, begun, own, embedded.random_prompts, labels, rng)
        for measure in MEASURES
    )
    points, explained = _points(embedded, triggers, begun, labels, starts)
    return findings.EmbeddingSpace(
        tokens=embedded.tokens,
        width=embedded.width,
        spreads=spreads,
        points=points,
        explained=explained,
    )


def _spread(
    measure: Measure,
    triggers: Floats,
    begun: Floats | None,
    own: Floats,
    random_prompts: Floats,
    labels: Sequence[str],
    rng: np.random.Generator,
) -> findings.Spread:
    apart = distances(triggers, measure)
    nothing = np.zeros(0)
    of_one = within(apart, labels)
    of_random = upper(distances(random_prompts, measure))
    at_start = nothing if begun is None else within(distances(begun, measure), labels)
    moved = nothing if begun is None else row_by_row(begun, triggers, measure)
    return findings.Spread(
        measure=measure,
        triggers_of_one_image=findings.Group.of("triggers of one image", of_one),
        triggers_of_different_images=findings.Group.of(
            "triggers of different images", between(apart, labels)
        ),
        starting_points_of_one_image=findings.Group.of("starting points of one image", at_start),
        random_prompts=findings.Group.of("random prompts", of_random),
        from_start_to_trigger=findings.Group.of("from start to trigger", moved),
        from_prompt_to_trigger=findings.Group.of(
            "from prompt to trigger", row_by_row(own, triggers, measure)
        ),
        share_of_random_prompts=(
            float(of_one.mean() / of_random.mean()) if len(of_one) and of_random.any() else None
        ),
        test=findings.SeparationTest.of(separation(apart, labels, rng)),
        test_of_displacements=(
            None
            if begun is None
            else findings.SeparationTest.of(
                separation(distances(triggers - begun, measure), labels, rng)
            )
        ),
    )


def _points(
    embedded: Embedded,
    triggers: Floats,
    begun: Floats | None,
    labels: Sequence[str],
    starts: Sequence[int],
) -> tuple[tuple[findings.Point, ...], tuple[float, float]]:
    samples = list(dict.fromkeys(labels))
    kinds: list[tuple[str, str | None, int | None]] = [
        *(("trigger", label, start) for label, start in zip(labels, starts, strict=True)),
        *(("prompt", sample, None) for sample in samples),
        *(("random prompt", None, None) for _ in embedded.random_prompts),
    ]
    vectors = [
        triggers,
        np.stack([embedded.prompts[sample] for sample in samples]),
        embedded.random_prompts,
    ]
    if begun is not None:
        kinds += [("starting point", label, s) for label, s in zip(labels, starts, strict=True)]
        vectors.append(begun)
    projection = principal_projection(np.concatenate(vectors))
    points = tuple(
        findings.Point.model_validate(
            {"kind": kind, "sample": sample, "start": start, "x": float(x), "y": float(y)}
        )
        for (kind, sample, start), (x, y) in zip(kinds, projection.coordinates, strict=True)
    )
    return points, projection.explained
