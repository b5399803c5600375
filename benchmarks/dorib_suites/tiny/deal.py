"""The fifth suite's deal: which photographs are memorized, controls, the judge's, or background.

Dealt by lot from what none of the shared components (encoder, CLIP, descriptor of 4.1) has seen:
the memorized samples and controls of 4.1 and photographs that are new. Cut-outs on white are dealt
apart, so that `dev` and `test` hold whole photographs only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from dorib_suites.tiny.photographs import PhotographError

SEED = 20261126
Place = tuple[str, str]
"""Role and split."""
BACKGROUND: Place = ("background", "")
WHOLE: Mapping[Place, int] = {
    ("memorized", "dev"): 16,
    ("memorized", "test"): 16,
    ("memorized", "duplication"): 24,
    ("control", "dev"): 16,
    ("control", "test"): 16,
    ("judge", "training"): 24,
    ("judge", "calibration"): 24,
}
WHITE: Mapping[Place, int] = {
    ("memorized", "white"): 8,
    ("control", "white"): 8,
    ("judge", "training"): 15,
    ("judge", "calibration"): 15,
}
"""A split of their own: outlines on white are where judges err."""


def deal(ids: Iterable[str], places: Mapping[Place, int], seed: int = SEED) -> dict[str, Place]:
    """The place of each id, by lot; those left over are background.

    Raises:
        PhotographError: there are fewer ids than places.
    """
    lot = np.random.default_rng(seed).permutation(sorted(ids)).tolist()
    if len(lot) < sum(places.values()):
        raise PhotographError(f"{len(lot)} photographs are too few for {sum(places.values())}")
    dealt: dict[str, Place] = dict.fromkeys(lot, BACKGROUND)
    first = 0
    for place, count in places.items():
        dealt |= dict.fromkeys(lot[first : first + count], place)
        first += count
    return dealt
