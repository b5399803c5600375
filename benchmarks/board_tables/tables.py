"""Tables in Markdown of a board's rates, by both judges, and of its gaps and utilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dorib import Entry, Results
from dorib.ranking.rates import Interval

RANKED = {
    "none": "own prompts",
    "dori": "Dori, prompt",
    "dori:start=other": "Dori, other caption",
    "dori:start=random": "Dori, noise",
    "transfer": "transfer",
    "evolution": "evolution",
}
"""What the columns of the attacks that rows are ranked by are called."""
FURTHER = {
    "relearn": "relearning",
    "tokens": "tokens",
    "inversion": "textual inversion",
    "seeds": "seeds",
}
"""Those of the others."""
CONTROLS = "*controls, unmitigated*"
KINDS = ("scene", "photograph")


def ranked_table(board: Results, titles: Mapping[str, str]) -> list[str]:
    """The rates under the ranked attacks, utility and the worst gap.

    Args:
        board: a published leaderboard.
        titles: what to call its rows, in order; labels by title.
    """
    cells = _cells(board)
    lines = _head(["mitigation", *RANKED.values(), "utility (scenes / photographs)", "worst gap"])
    ranked = (*board.leaderboard.rows, *board.leaderboard.per_sample_rows)
    gaps = {row.mitigation.label: row.worst_gap for row in ranked}
    gaps["none"] = cells["none", "none"].erasure_gap
    for title, label in titles.items():
        rates = [_rates(cells[label, attack]) for attack in RANKED]
        own = cells[label, "none"]
        by_kind = " / ".join(_number(own.utility_by_kind[kind].value) for kind in KINDS)
        utility = f"{_number(own.utility.value if own.utility else None)} ({by_kind})"
        lines.append(_line(title, *rates, utility, _interval(gaps.get(label))))
    controls = [_rates(cells["none", attack], controls=True) for attack in RANKED]
    return [*lines, _line(CONTROLS, *controls, "", "")]


def further_table(board: Results, titles: Mapping[str, str]) -> list[str]:
    """The rates under the other attacks, and the gap under relearning, of the rows that have all.

    Args:
        board: a published leaderboard.
        titles: what to call its rows, in order; labels by title.
    """
    cells = _cells(board)
    lines = _head(["mitigation", *FURTHER.values(), "gap under relearning"])
    for title, label in titles.items():
        of_row = [cells.get((label, attack)) for attack in FURTHER]
        there = [cell for cell in of_row if cell]
        if len(there) == len(of_row):
            gap = _interval(cells[label, "relearn"].erasure_gap)
            lines.append(_line(title, *map(_rates, there), gap))
    return lines


def with_tables(page: str, *tables: list[str]) -> str:
    """A page with each table in the place of the one that has its head.

    Raises:
        ValueError: the page has no such table.
    """
    lines = page.splitlines()
    for table in tables:
        if table[0] not in lines:
            raise ValueError(f"no table on the page begins with {table[0]!r}")
        begin = lines.index(table[0])
        end = next((n for n in range(begin, len(lines)) if not lines[n].startswith("|")), None)
        lines[begin:end] = table
    return "\n".join(lines) + "\n"


def untold(board: Results, titles: Mapping[str, str]) -> Iterator[str]:
    """The board's rows that have no title."""
    there = dict.fromkeys(entry.mitigation.label for entry in board.entries)
    yield from (label for label in there if label not in titles.values())


def _cells(board: Results) -> dict[tuple[str, str], Entry]:
    return {(entry.mitigation.label, entry.attack.label): entry for entry in board.entries}


def _head(names: list[str]) -> list[str]:
    return [_line(*names), "|" + "---|" * len(names)]


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _rates(entry: Entry, *, controls: bool = False) -> str:
    """By the first judge and by the second."""
    second = entry.second_judge
    if controls:
        rates = entry.controls_rate, second and second.controls
    else:
        rates = entry.memorization_rate, second and second.memorized
    return " / ".join(_number(rate.rate if rate else None) for rate in rates)


def _interval(gap: Interval | None) -> str:
    return f"{gap.value:.2f} ({gap.low:.2f} to {gap.high:.2f})" if gap else ""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
