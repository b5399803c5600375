"""Survival over budgets: how long samples hold, where some hold beyond the last budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Survival:
    """A survival curve: a step function that falls at `times`."""

    times: tuple[float, ...]
    """When a sample broke or was last seen whole; rising strictly."""
    shares: tuple[float, ...]
    """Share of samples that hold beyond each of `times`; 1 before the first."""

    def at(self, time: float) -> float:
        """Share of samples that hold beyond `time`."""
        passed = int(np.searchsorted(self.times, time, side="right"))
        return self.shares[passed - 1] if passed else 1.0

    def restricted_mean(self, horizon: float) -> float:
        """Area under the curve from 0 to `horizon`: the mean time, at most `horizon`."""
        return restricted_mean(self.times, self.shares, horizon)


def kaplan_meier(times: Sequence[float], broken: Sequence[bool]) -> Survival:
    """The Kaplan-Meier estimate; a sample censored at a time is still at risk there.

    Source: Kaplan and Meier, Journal of the American Statistical Association 53 (1958).

    Args:
        times: For each sample, when it broke or was last seen whole; positive.
        broken: For each sample, whether it broke; otherwise it is censored.

    Raises:
        ValueError: the lengths differ, or there is no sample.
    """
    when, event = np.asarray(times, dtype=np.float64), np.asarray(broken, dtype=bool)
    if when.shape != event.shape or when.size == 0:
        raise ValueError("each of at least one sample needs a time and whether it broke")
    distinct = np.unique(when)
    at_risk = (when[None, :] >= distinct[:, None]).sum(axis=1)
    broke = ((when[None, :] == distinct[:, None]) & event[None, :]).sum(axis=1)
    shares = np.cumprod(1 - broke / at_risk)
    return Survival(tuple(distinct.tolist()), tuple(shares.tolist()))


def restricted_mean(times: Sequence[float], shares: Sequence[float], horizon: float) -> float:
    """Area from 0 to `horizon` under the step function that falls to `shares` at `times`."""
    steps = [(0.0, 1.0), *(step for step in zip(times, shares, strict=True) if step[0] < horizon)]
    lengths = np.diff([*(time for time, _ in steps), horizon])
    return float(sum(share * length for (_, share), length in zip(steps, lengths, strict=True)))
