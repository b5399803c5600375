"""How like its unblocked self a prompt stays under blocked neurons, at few forwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from dorib_nemo.picks import Picks, blocked
from dorib_nemo.similarity import Similarity

Look = Callable[[Sequence[Picks]], Tensor]
"""Differences `[candidates, seeds, channels, height, width]` of one prompt's kept seeds."""


class Judge:
    """One prompt's similarities: the largest MS-SSIM over its kept seeds.

    Candidates may be looked at ahead, several in one forward. A value too near its threshold to be
    trusted from a shared forward is computed again in a forward of its own, so that every decision
    is the one that looking at one candidate after another would take.
    """

    def __init__(
        self,
        look: Look,
        similarity: Similarity,
        unblocked: Tensor,
        most_at_once: int,
        tolerance: float,
    ) -> None:
        """`unblocked` is `[seeds, ...]`; `tolerance` what a shared forward may be off by."""
        self.most_at_once = most_at_once
        self._look = look
        self._similarity = similarity
        self._unblocked = unblocked
        self._tolerance = tolerance
        # Nothing blocked needs no forward: its differences are at hand.
        (same,) = similarity.largest(unblocked, unblocked[None])
        self._alone: dict[object, float] = {frozenset(): same}
        self._shared: dict[object, float] = {}
        self._looked_at: set[object] = set()
        self._decided_on: set[object] = set()
        self._repeated = 0

    def look_ahead(self, candidates: Sequence[Picks]) -> None:
        """Compute what is not known yet, in shared forwards."""
        waiting = {blocked(c): c for c in candidates}
        waiting = {
            key: candidate
            for key, candidate in waiting.items()
            if key not in self._alone and key not in self._shared
        }
        keys, unknown = list(waiting), list(waiting.values())
        for start in range(0, len(keys), self.most_at_once):
            part = slice(start, start + self.most_at_once)
            values = self._compute(unknown[part])
            into = self._alone if len(values) == 1 else self._shared
            into.update(zip(keys[part], values, strict=True))
        self._looked_at.update(keys)

    def similarity(self, candidate: Picks, threshold: float) -> float:
        """The similarity under `candidate`, good enough to be compared with `threshold`."""
        key = blocked(candidate)
        shared = self._shared.get(key)
        if key in self._alone or shared is None or abs(shared - threshold) <= self._tolerance:
            return self.exactly(candidate)
        self._decided_on.add(key)
        return shared

    def exactly(self, candidate: Picks) -> float:
        """The similarity under `candidate`, from a forward of its own."""
        key = blocked(candidate)
        if key not in self._alone:
            (self._alone[key],) = self._compute([candidate])
            self._repeated += key in self._shared
            self._looked_at.add(key)
        self._decided_on.add(key)
        return self._alone[key]

    def items(self) -> dict[str, int]:
        """U-Net items so far: what the decisions needed, what was ahead in vain, what twice."""
        seeds = len(self._unblocked)
        needed = len(self._decided_on & self._looked_at)
        return {
            "needed": seeds * needed,
            "speculative": seeds * (len(self._looked_at) - needed),
            "repeated": seeds * self._repeated,
        }

    def _compute(self, candidates: Sequence[Picks]) -> list[float]:
        return self._similarity.largest(self._unblocked, self._look(candidates))
