"""Claim 2: do triggers of one image reach it through different activations?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from dorib_locality import findings
from dorib_locality.activations import Recording
from dorib_locality.geometry import MEASURES, Floats, Indices, Measure, distances, row_by_row
from dorib_locality.pairs import between, finite_mean, separation, superiority, upper, within

Kind: TypeAlias = Literal["value", "feed_forward"]


def discrepancies(
    recording: Recording,
    reduction: str,
    chosen: Indices,
    labels: Sequence[str],
    random_prompts: Indices,
    rng: np.random.Generator,
) -> findings.Activations:
    """Claim 2 for the `chosen` triggers; `labels` are theirs.

    The discrepancy of two embeddings is the distance of their activation vectors, averaged over the
    starting latents. `chosen` and `random_prompts` are rows of the recording; `rng` deals labels.
    """
    noises = next(iter(recording.feed_forward.values())).shape[1]
    pairs = _Pairs(chosen, labels, random_prompts, rng)
    for layer, vectors in recording.value.items():
        pairs.compare("value", layer, None, vectors[:, None])
    for step, timestep in enumerate(recording.timesteps):
        for layer, observed in recording.feed_forward.items():
            pairs.compare("feed_forward", layer, timestep, observed[:, :, step])
    return findings.Activations(
        reduction=reduction,
        noises=noises,
        timesteps=recording.timesteps,
        layers=tuple(pairs.rows),
        tests=tuple(pairs.tests()),
    )


@dataclass
class _Pairs:
    """Compares the chosen triggers with each other, layer by layer."""

    chosen: Indices
    labels: Sequence[str]
    random_prompts: Indices
    rng: np.random.Generator
    rows: list[findings.LayerDiscrepancy] = field(default_factory=list)
    _apart: dict[tuple[Kind, int | None, Measure], list[Floats]] = field(default_factory=dict)

    def compare(self, kind: Kind, layer: str, timestep: int | None, vectors: Floats) -> None:
        """Add the rows of one layer at one timestep; `vectors` is `[n, noises, d]`."""
        for measure in MEASURES:
            each = [distances(vectors[:, noise], measure) for noise in range(vectors.shape[1])]
            apart: Floats = np.mean(each, axis=0)
            own = self._among(apart, self.chosen)
            one, different = within(own, self.labels), between(own, self.labels)
            comparable = len(one) > 0 and len(different) > 0
            self.rows.append(
                findings.LayerDiscrepancy(
                    kind=kind,
                    layer=layer,
                    timestep=timestep,
                    measure=measure,
                    triggers_of_one_image=finite_mean(one),
                    triggers_of_different_images=finite_mean(different),
                    random_prompts=finite_mean(upper(self._among(apart, self.random_prompts))),
                    one_trigger_other_noise=self._of_noise(vectors[self.chosen], measure),
                    superiority=superiority(different, one) if comparable else None,
                )
            )
            self._apart.setdefault((kind, timestep, measure), []).append(own)

    def tests(self) -> Iterator[findings.ActivationTest]:
        """One for each kind, timestep and measure, on the mean over the layers."""
        for (kind, timestep, measure), layers in self._apart.items():
            found = separation(np.mean(layers, axis=0), self.labels, self.rng)
            test = findings.SeparationTest.of(found)
            yield findings.ActivationTest(kind=kind, timestep=timestep, measure=measure, test=test)

    def _of_noise(self, vectors: Floats, measure: Measure) -> float | None:
        others = range(1, vectors.shape[1])
        apart = [row_by_row(vectors[:, 0], vectors[:, noise], measure) for noise in others]
        return finite_mean(np.concatenate(apart)) if apart else None

    def _among(self, apart: Floats, rows: Indices) -> Floats:
        return apart[np.ix_(rows, rows)]
