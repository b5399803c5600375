"""What a board says of one setting: utility of the worst kind of prompts, and the worst gap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

from dorib import Entry, MethodSpec, StrictModel
from dorib.ranking.rates import UtilityShare

LEARNING_RATE = "learning_rate"
Value = float | str


class Spread(NamedTuple):
    """A value with its 95 % interval, where so few values allow one."""

    value: float
    low: float | None
    high: float | None


class Point(StrictModel):
    """A mitigation at one setting."""

    mitigation: str
    learning_rate: float
    other: dict[str, Value]
    """All else that it is told, by name."""
    from_prompts: float
    """Share of the memorized samples that come back from their captions."""
    attack: str
    """The one under which the gap is widest."""
    gap: Spread
    """By how much more of the samples come back than of a model that never had them."""
    kind: str | None
    """The kind of utility prompts that suffers most; None where the suite tells none apart."""
    utility: Spread
    """Of that kind."""

    @classmethod
    def of(cls, cells: Sequence[Entry]) -> Self | None:
        """One mitigation's, from its cells; None where one of the figures is not known."""
        mitigation = cells[0].mitigation
        rate = mitigation.params.get(LEARNING_RATE)
        told = MethodSpec.parse(mitigation.label).params
        gaps = [(cell.erasure_gap, cell.attack.label) for cell in cells if cell.searches]
        known = [(gap, attack) for gap, attack in gaps if gap is not None]
        own = next((c.memorization_rate for c in cells if c.attack.name == "none"), None)
        shares: list[tuple[UtilityShare, str | None]] = [
            (share, kind) for kind, share in cells[0].utility_by_kind.items()
        ]
        if not shares and cells[0].utility:
            shares = [(cells[0].utility, None)]
        if not (known and shares and own) or rate is None:
            return None
        gap, attack = max(known, key=lambda one: one[0].value)
        share, kind = min(shares, key=lambda one: one[0].value)
        return cls(
            mitigation=mitigation.label,
            learning_rate=float(rate),
            other={name: _plain(v) for name, v in told.items() if name != LEARNING_RATE},
            from_prompts=own.rate,
            attack=attack,
            gap=Spread(gap.value, gap.low, gap.high),
            kind=kind,
            utility=Spread(share.value, share.low, share.high),
        )


def points_of(entries: Sequence[Entry], method: str) -> list[Point]:
    """Those of `method` at every setting that has a gap and a utility, in the board's order."""
    cells: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.mitigation.name == method:
            cells.setdefault(entry.mitigation.label, []).append(entry)
    points = (Point.of(of_one) for of_one in cells.values())
    return [point for point in points if point is not None]


def families(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Those that differ by their learning rate alone, the lowest first, by what sets them apart.

    What all points are told is left out of the name.
    """
    told = [set(point.other.items()) for point in points]
    shared_by_all = set.intersection(*told) if told else set()
    found: dict[str, list[Point]] = {}
    for point in points:
        own = sorted(set(point.other.items()) - shared_by_all)
        name = ", ".join(f"{name}={value}" for name, value in own)
        found.setdefault(name or "nothing else changed", []).append(point)
    return {name: sorted(of, key=lambda p: p.learning_rate) for name, of in found.items()}


def _plain(value: object) -> Value:
    return float(value) if isinstance(value, int | float) else str(value)
