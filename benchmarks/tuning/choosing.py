"""The rule by which a setting is chosen: pure, and stated in words beside what it chose."""

from __future__ import annotations

from collections.abc import Sequence

from tuning.numbers import Point

MOST_LEFT = 0.1
RULE = (
    "the weakest setting at which at most a tenth of the memorized samples comes back from their "
    "captions, by the first judge; where there is none, the one with the lowest such rate, of "
    "several that with the largest utility"
)


def choose(points: Sequence[Point]) -> tuple[Point | None, str]:
    """One of `points`, the weakest of which comes first, and why it is.

    A point with an error is not chosen; None where none is left.
    """
    measured = [(point.rate, point) for point in points if point.rate is not None]
    whole = [(rate, point) for rate, point in measured if not point.errors]
    if not whole:
        return None, "no setting has a rate without an error"
    for rate, point in whole:
        if rate <= MOST_LEFT:
            return point, "the weakest that leaves at most a tenth"
    # Of equals `max` takes the first, which is the weakest.
    rate, point = max(whole, key=lambda one: (-one[0], _utility(one[1])))
    return point, "none leaves at most a tenth; this one leaves the fewest"


def _utility(point: Point) -> float:
    return float("-inf") if point.utility is None else point.utility
