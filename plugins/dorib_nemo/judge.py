"""How like its unblocked self a prompt stays under blocked neurons, at few U-Net items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        self._shared: dict[Key, dict[int, float]] = {}
        self._cost: dict[Key, int] = {}
        self._decided_on: set[Key] = set()
        self._repeated = 0

    def reach(self, below: bool) -> int:
        """How many candidates are worth looking at ahead, if they are expected to be `below`."""
        return self._batch_size if self._seed_by_seed and not below else self._at_once

    def look_ahead(self, candidates: Sequence[Picks], threshold: float, below: bool) -> None:
        """Compute what is not known yet, in shared forwards.

        `below` tells whether the similarities are expected to be below `threshold`; beyond the
        first that is not as expected nobody will ask.
        """
        if self._at_once == 1 and (below or not self._seed_by_seed):
            return
        if self._seed_by_seed:
            self._share(candidates, [self._foremost])
            if not below:
                return
            refused = [self._is_refused(candidate, threshold) for candidate in candidates]
            candidates = candidates[: refused.index(True) if True in refused else None]
        self._complete(candidates)

    def similarity(self, candidate: Picks, threshold: float) -> float:
        """The similarity under `candidate`, good enough to be compared with `threshold`.

        If it exceeds the threshold, it may be one seed's instead of the largest.
        """
        key = blocked(candidate)
        self._decided_on.add(key)
        if key in self._alone or key not in self._shared:
            return self.exactly(candidate)
        if not self._is_refused(candidate, threshold):
            self._complete([candidate])
        shared = max(self._shared[key].values())
        return shared if abs(shared - threshold) > self._tolerance else self.exactly(candidate)

    def exactly(self, candidate: Picks) -> float:
        """The similarity under `candidate`, from a forward of its own."""
        key = blocked(candidate)
        self._decided_on.add(key)
        if key not in self._alone:
            self._repeated += self._cost.get(key, 0)
            (values,) = self._each([candidate], self._seeds)
            self._cost[key] = len(self._seeds)
            self._alone[key] = self._largest(dict(zip(self._seeds, values, strict=True)))
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
        """Whether the seeds looked at are enough to exceed the threshold."""
        return any(value > threshold for value in self._shared.get(blocked(candidate), {}).values())

    def _complete(self, candidates: Sequence[Picks]) -> None:
        """Look at the seeds that are missing; candidates with the same ones share forwards."""
        alike: dict[tuple[int, ...], list[Picks]] = {}
        for candidate in candidates:
            seen = self._shared.get(blocked(candidate), {})
            missing = tuple(seed for seed in self._seeds if seed not in seen)
            alike.setdefault(missing, []).append(candidate)
        for seeds, those in alike.items():
            self._share(those, seeds)

    def _share(self, candidates: Sequence[Picks], seeds: Sequence[int]) -> None:
        """Look at `seeds` in shared forwards, where they are not known."""
        waiting = {blocked(candidate): candidate for candidate in candidates}
        keys = [
            key
            for key in waiting
            if key not in self._alone and not set(seeds) <= self._shared.get(key, {}).keys()
        ]
        at_once = max(1, self._batch_size // max(1, len(seeds)))
        for start in range(0, len(keys), at_once):
            part = keys[start : start + at_once]
            each = self._each([waiting[key] for key in part], seeds)
            for key, values in zip(part, each, strict=True):
                seen = self._shared.setdefault(key, {})
                seen.update(zip(seeds, values, strict=True))
                self._largest(seen)
                self._cost[key] = self._cost.get(key, 0) + len(seeds)

    def _each(self, candidates: Sequence[Picks], seeds: Sequence[int]) -> list[list[float]]:
        """Each candidate's similarity for each of `seeds`, from one forward."""
        differences = self._look(candidates, seeds)
        each = self._similarity.each(self._unblocked[list(seeds)], differences)
        values: list[list[float]] = each.tolist()
        return values

    def _largest(self, seen: dict[int, float]) -> float:
        """The largest of a candidate's similarities by seed, whose seed is looked at first next."""
        if len(seen) > 1:
            self._foremost = max(seen, key=seen.__getitem__)
        return max(seen.values())
