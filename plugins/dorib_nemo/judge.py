"""How like its unblocked self a prompt stays under blocked neurons, at few U-Net items."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from typing import TypeAlias

from torch import Tensor

from dorib_nemo.picks import Picks, blocked
from dorib_nemo.similarity import Similarity

Look = Callable[[Sequence[Picks], Sequence[int]], Tensor]
"""Differences `[candidates, seeds, channels, height, width]` of one prompt: which candidates, and
which of its kept seeds, by position."""
Key: TypeAlias = frozenset[tuple[int, int]]
"""What a candidate blocks."""


class Judge:
    """One prompt's similarities: the largest MS-SSIM over its kept seeds.

    Candidates may be looked at ahead, several in one forward. A value too near its threshold to be
    trusted from a shared forward is computed again in a forward of its own, so that every decision
    is the one that looking at one candidate after another would take.

    Where a score does not depend on the rest of its batch, the seed that was the most similar last
    is looked at first: if it alone exceeds the threshold, the other seeds cannot change that.
    """

    def __init__(
        self,
        look: Look,
        similarity: Similarity,
        unblocked: Tensor,
        batch_size: int,
        tolerance: float,
    ) -> None:
        """`unblocked` is `[seeds, ...]`; `tolerance` what a shared forward may be off by."""
        self._look = look
        self._similarity = similarity
        self._unblocked = unblocked
        self._batch_size = batch_size
        self._tolerance = tolerance
        self._seeds = range(len(unblocked))
        self._at_once = max(1, batch_size // len(unblocked))
        self._seed_by_seed = similarity.data_range is not None and len(unblocked) > 1
        self._foremost = 0
        # Nothing blocked needs no forward: its differences are at hand.
        same = similarity.each(unblocked, unblocked[None]).max().item()
        self._alone: dict[Key, float] = {frozenset(): same}
        self._shared: dict[Key, float] = {}
        self._one_seed: dict[Key, float] = {}
        self._cost: dict[Key, int] = {}
        self._decided_on: set[Key] = set()
        self._repeated = 0

    def reach(self, below: bool) -> int:
        """How many candidates are worth looking at ahead, if they are expected to be `below`."""
        if self._at_once == 1:
            return 1
        return self._batch_size if self._seed_by_seed and not below else self._at_once

    def look_ahead(self, candidates: Sequence[Picks], threshold: float, below: bool) -> None:
        """Compute what is not known yet, in shared forwards.

        `below` tells whether the similarities are expected to be below `threshold`; beyond the
        first that is not as expected nobody will ask.
        """
        if self._at_once == 1:
            return
        if self._seed_by_seed:
            self._look_at(candidates, [self._foremost], into=self._one_seed, known=())
            if not below:
                return
            refused = [self._is_refused(candidate, threshold) for candidate in candidates]
            candidates = candidates[: refused.index(True) if True in refused else None]
        self._look_at(candidates, self._seeds, into=self._shared, known=self._alone)

    def similarity(self, candidate: Picks, threshold: float) -> float:
        """The similarity under `candidate`, good enough to be compared with `threshold`.

        If it exceeds the threshold, it may be one seed's instead of the largest.
        """
        key = blocked(candidate)
        self._decided_on.add(key)
        shared = self._shared.get(key)
        if key in self._alone:
            return self._alone[key]
        if shared is not None and abs(shared - threshold) > self._tolerance:
            return shared
        if self._is_refused(candidate, threshold):
            return self._one_seed[key]
        return self.exactly(candidate)

    def exactly(self, candidate: Picks) -> float:
        """The similarity under `candidate`, from a forward of its own."""
        key = blocked(candidate)
        self._decided_on.add(key)
        if key not in self._alone:
            self._look_at([candidate], self._seeds, into=self._alone, known=())
        return self._alone[key]

    def items(self) -> dict[str, int]:
        """U-Net items so far: what the decisions needed, what was ahead in vain, what twice."""
        needed = sum(cost for key, cost in self._cost.items() if key in self._decided_on)
        return {
            "needed": needed,
            "speculative": sum(self._cost.values()) - needed,
            "repeated": self._repeated,
        }

    def _is_refused(self, candidate: Picks, threshold: float) -> bool:
        """Whether one seed is enough to exceed the threshold."""
        return self._one_seed.get(blocked(candidate), -math.inf) > threshold + self._tolerance

    def _look_at(
        self,
        candidates: Sequence[Picks],
        seeds: Sequence[int],
        into: dict[Key, float],
        known: Container[Key],
    ) -> None:
        """Put the largest similarity over `seeds` into `into` where it is not known."""
        waiting = {blocked(candidate): candidate for candidate in candidates}
        keys = [key for key in waiting if key not in into and key not in known]
        at_once = max(1, self._batch_size // len(seeds))
        for start in range(0, len(keys), at_once):
            part = keys[start : start + at_once]
            differences = self._look([waiting[key] for key in part], seeds)
            each = self._similarity.each(self._unblocked[list(seeds)], differences)
            for key, values in zip(part, each, strict=True):
                into[key] = values.max().item()
                if len(seeds) > 1:
                    self._foremost = int(values.argmax())
                self._repeated += self._cost.get(key, 0)
                self._cost[key] = len(seeds)
