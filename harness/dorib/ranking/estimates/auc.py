"""The area under the curve: the chance that one kind of value exceeds the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from dorib.ranking.statistics import CONFIDENCE

_EDGE = 1e-12


def auc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """The share of pairs in which the positive is the larger, a tie counting half.

    Raises:
        ValueError: one side is empty.
    """
    ours, others = np.asarray(positives, float), np.asarray(negatives, float)
    if not (ours.size and others.size):
        raise ValueError("an AUC takes one value at least on each side")
    above = (ours[:, None] > others[None, :]).mean()
    ties = (ours[:, None] == others[None, :]).mean()
    return float(above + ties / 2)


def auc_interval(
    value: float, positives: int, negatives: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The interval of an AUC of so many positives and negatives, also where it is 0 or 1.

    Newcombe 2006, "Confidence intervals for an effect size measure based on the Mann-Whitney
    statistic", method 5: the values from which the observed one lies no further than chance has it.
    """
    # It takes as long to import as a small suite's report to write, and few runs have probes.
    from scipy.optimize import brentq

    z = float(ndtri((1 + confidence) / 2))
    mean = (positives + negatives) / 2 - 1

    def distance(true: float) -> float:
        spread = true * (1 - true) / (positives * negatives)
        spread *= 1 + mean * ((1 - true) / (2 - true) + true / (1 + true))
        return (value - true) ** 2 - z * z * spread

    # At 0 and 1 the distance is 0 itself: the bound sought lies on the other side of it.
    inside = min(max(value, _EDGE), 1 - _EDGE)
    low = float(brentq(distance, 0, inside)) if distance(0) > 0 else 0.0
    high = float(brentq(distance, inside, 1)) if distance(1) > 0 else 1.0
    return min(low, value), max(high, value)
