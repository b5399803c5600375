"""Drawings of a page, as numbers that a template turns into SVG: curves, and utility over gap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from dorib.ranking.entries import Entry
from dorib.report.site.rows import BoardRow

WIDTH, HEIGHT = 440, 230
"""Of a panel, in the units of its drawing."""
LEFT, RIGHT, TOP, BOTTOM = 46, 136, 10, 34
"""Its margins; labels stand on the right."""
LINE_HEIGHT = 12
MOST_LINES = 7
"""Mitigations with a line and a label; the others are grey lines."""
DODGE = 3
"""Between the intervals of two lines at one budget."""


@dataclass(frozen=True)
class Mark:
    """A point with its interval."""

    x: float
    y: float
    low: float
    high: float
    left: float = 0
    right: float = 0
    """Ends of a sideways interval; both 0 where there is none."""
    title: str = ""


@dataclass(frozen=True)
class Line:
    """One mitigation in a panel, or a point of it."""

    name: str
    look: str
    """Class of its style: `line-0` and on, or `none`, `oracle`, `controls`, `other`."""
    marks: tuple[Mark, ...]
    anchor: str = ""
    label_y: float | None = None
    """Where its name stands; None where it has none."""

    @property
    def path(self) -> str:
        """Its points as SVG has them."""
        return " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in self.marks)


@dataclass(frozen=True)
class Panel:
    """One drawing."""

    title: str
    lines: tuple[Line, ...]
    ticks_x: tuple[tuple[float, str], ...]
    ticks_y: tuple[tuple[float, str], ...] = field(
        default_factory=lambda: tuple((share_y(v), f"{v:g}") for v in (0, 0.25, 0.5, 0.75, 1))
    )
    knows: tuple[str, ...] = ()


def curve_panels(rows: Sequence[BoardRow], attacks: Sequence[Entry]) -> list[Panel]:
    """`memorization_rate@k` over the budget with its intervals, a panel for each search."""
    searched = [attack for attack in attacks if attack.searches]
    return [panel for attack in searched if (panel := _curves(rows, attack))]


def _curves(rows: Sequence[BoardRow], attack: Entry) -> Panel | None:
    label = attack.attack.label
    cells = [(row, row.cells[label]) for row in rows if label in row.cells]
    budgets = sorted({point.budget for _, cell in cells for point in cell.curve})
    if not budgets:
        return None
    own_looks = looks(rows)
    lines = []
    for number, (row, cell) in enumerate(cells):
        look = own_looks.get(row.anchor, "other")
        shift = (number % MOST_LINES - MOST_LINES // 2) * DODGE if look != "other" else 0
        lines.append(
            Line(row.short, look, tuple(_marks(cell, budgets, shift, row.name)), row.anchor)
        )
        if look == "none" and cell.controls_rate:
            marks = _marks(cell, budgets, -shift, "controls", of="controls")
            lines.append(Line("controls, unmitigated", "controls", tuple(marks)))
    ticks = tuple((budget_x(budget, budgets[-1]), str(budget)) for budget in budgets)
    shown = [line for line in lines if line.marks]
    if not shown:
        return None
    return Panel(label, tuple(labelled(shown)), ticks, knows=attack.knows)


def _marks(
    cell: Entry, budgets: Sequence[int], shift: float, name: str, of: str = "memorized"
) -> Iterator[Mark]:
    for point in cell.curve:
        rate = point.controls if of == "controls" else point.memorized
        if rate is not None:
            yield Mark(
                budget_x(point.budget, budgets[-1]) + shift,
                share_y(rate.rate),
                share_y(rate.low),
                share_y(rate.high),
                title=f"{name} at {point.budget}: {rate.rate:.2f} "
                f"({rate.low:.2f} to {rate.high:.2f})",
            )


def utility_over_gap(rows: Sequence[BoardRow]) -> Panel | None:
    """Each mitigation's utility and worst gap, and the front that no other one passes."""
    own_looks = looks(rows)
    points = []
    for row in rows:
        gap, utility = row.row.worst_gap, row.row.utility
        if gap is None or utility is None or row.group == "reference":
            continue
        low, high = (utility.low, utility.high) if utility.high is not None else (None, None)
        mark = Mark(
            _utility_x(utility.value),
            share_y(gap.value),
            share_y(gap.low),
            share_y(gap.high),
            _utility_x(low) if low is not None else 0,
            _utility_x(high) if high is not None else 0,
            title=f"{row.name}: worst gap {gap.value:.2f}, utility {utility.value:.2f}",
        )
        points.append(Line(row.short, own_looks.get(row.anchor, "other"), (mark,), row.anchor))
    if not points:
        return None
    ticks = tuple((_utility_x(value), f"{value:g}") for value in (0, 0.2, 0.4, 0.6, 0.8, 1))
    return Panel("", (_front(points), *labelled(points)), ticks)


def _front(points: Sequence[Line]) -> Line:
    """Steps along the points than which none is better in both."""
    best: list[Mark] = []
    for mark in sorted((line.marks[0] for line in points), key=lambda m: (-m.x, -m.y)):
        if not best or mark.y > best[-1].y:
            best.append(mark)
    steps = []
    for before, after in pairwise(best):
        steps += [before, Mark(after.x, before.y, 0, 0)]
    return Line("", "front", (*steps, best[-1]))


def looks(rows: Sequence[BoardRow]) -> dict[str, str]:
    """How each row is drawn, by its anchor: the same in all panels."""
    found = {}
    others = [row for row in rows if row.group != "reference"]
    for number, row in enumerate(others[:MOST_LINES]):
        found[row.anchor] = f"line-{number}"
    for row in rows:
        if row.group == "reference":
            found[row.anchor] = "none" if row.method.name == "none" else "oracle"
    return found


def labelled(lines: Sequence[Line]) -> Iterator[Line]:
    """Labels at the lines' ends, moved apart where they would lie on each other."""
    named = sorted(
        (line for line in lines if line.look != "other"), key=lambda line: line.marks[-1].y
    )
    places: dict[int, float] = {}
    last = TOP - LINE_HEIGHT / 2
    for line in named:
        last = max(line.marks[-1].y, last + LINE_HEIGHT)
        places[id(line)] = last
    over = last - (HEIGHT - BOTTOM + LINE_HEIGHT)
    yield from (line for line in lines if line.look == "other")
    ceiling = float("inf")
    for line in reversed(named):
        y = min(places[id(line)], ceiling, HEIGHT - BOTTOM + LINE_HEIGHT if over > 0 else ceiling)
        ceiling = y - LINE_HEIGHT
        yield Line(line.name, line.look, line.marks, line.anchor, y + 4)


def budget_x(budget: float, largest: float) -> float:
    """Where a budget lies."""
    return LEFT + (WIDTH - LEFT - RIGHT) * budget / max(largest, 1)


def _utility_x(value: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(max(value, 0), 1.05) / 1.05


def share_y(share: float) -> float:
    """Where a share lies: 1 on top."""
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(max(share, 0), 1))
