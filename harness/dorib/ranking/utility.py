"""Utility: what a mitigation leaves of a model's alignment with prompts outside its target set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dorib.contracts.methods import CLIP_ALIGNMENT
from dorib.ranking.observations import Observations, Place
from dorib.ranking.rates import UtilityShare
from dorib.ranking.statistics import utility_share

SHUFFLED = "clip_alignment_shuffled"
OF_KIND = "clip_alignment_of_kind"
"""Alignment with all other captions of the prompt's kind."""
BOOTSTRAP_SEED = 1


@dataclass(frozen=True)
class Utility:
    """A mitigation's share of the unmitigated model's alignment, and what is missing from it."""

    share: UtilityShare | None
    """None where nothing was measured, or the judge cannot tell captions apart."""
    errors: frozenset[str]
    """Prompts with an error or without a value; without one, they count as aligned by chance."""
    reference_errors: frozenset[str]
    """Prompts without a value in the unmitigated model: left out of both arms."""
    by_kind: dict[str, UtilityShare] = field(default_factory=dict)
    """The share over the prompts of each kind."""


def measure_utility(
    observations: Observations,
    mitigation: str,
    unmitigated: str,
    prompts: Sequence[str],
    kinds: Mapping[str, str],
) -> Utility:
    """The utility of one mitigation by its label, over `prompts` by their ids.

    `kinds` holds those of the prompts that have one: a mean over all hides what is lost for a kind
    that few prompts ask for. A kind's zero is the alignment with all its other captions: another
    kind's fit worse than these, and would make what is left look more than it is.
    """
    ours = Place(mitigation, None, 0, "utility")
    reference = Place(unmitigated, None, 0, "utility")
    aligned = _means(observations, ours, CLIP_ALIGNMENT)
    unaided = _means(observations, reference, CLIP_ALIGNMENT)
    shuffled = _means(observations, reference, SHUFFLED)
    of_kind = _means(observations, reference, OF_KIND)
    errors = _lacking(prompts, set(aligned)) | observations.errors(ours)
    reference_errors = _lacking(prompts, set(unaided) & set(shuffled))
    measured = [prompt for prompt in prompts if prompt not in reference_errors]

    def share(of: Sequence[str], zero: Mapping[str, float]) -> UtilityShare | None:
        if not of:
            return None
        estimate = utility_share(
            [aligned.get(p, zero[p]) for p in of],
            [unaided[p] for p in of],
            [zero[p] for p in of],
            np.random.default_rng(BOOTSTRAP_SEED),
        )
        if estimate and mitigation == unmitigated:
            # The yardstick itself: 1 by definition, whatever the prompts.
            return UtilityShare(value=1, low=estimate.low and 1, high=estimate.high and 1)
        return UtilityShare(**estimate._asdict()) if estimate else None

    by_kind = {
        kind: value
        for kind in sorted(set(kinds.values()))
        if (value := share([p for p in measured if kinds.get(p) == kind and p in of_kind], of_kind))
    }
    return Utility(share(measured, shuffled), errors, reference_errors, by_kind)


def _means(observations: Observations, place: Place, quantity: str) -> dict[str, float]:
    values = observations.by_sample(place, quantity)
    return {sample: float(np.mean(of_sample)) for sample, of_sample in values.items()}


def _lacking(prompts: Sequence[str], present: Collection[str]) -> frozenset[str]:
    return frozenset(prompts).difference(present)
