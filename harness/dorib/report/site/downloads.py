"""A board in the forms that others take: CSV, a LaTeX table, and numbers for the page's script."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from dorib.printable import printable
from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import Leaderboard
from dorib.ranking.rates import Interval, Rate, UtilityShare
from dorib.report.site.rows import BoardRow

CSV_FILE, TEX_FILE = "leaderboard.csv", "leaderboard.tex"
COLUMNS: dict[str, type] = {
    **{"group": str, "rank": int, "title": str, "mitigation": str, "authors": str, "year": int},
    **dict.fromkeys(("scope", "verdict", "reason", "attack"), str),
    **{"required": bool, "budget": int},
    **dict.fromkeys(("memorized", "memorized_low", "memorized_high", "oracle"), float),
    **dict.fromkeys(("controls", "gap", "gap_low", "gap_high", "second_judge"), float),
    **dict.fromkeys(("agreement", "utility", "utility_low", "utility_high"), float),
    **{"worst_kind": str, "utility_of_worst_kind": float, "work": float, "errors": int},
    **dict.fromkeys(("entry", "claim", "verified_by"), str),
}
"""Of a board's lines, with the types of their values; each may be None."""
_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def board_lines(rows: Sequence[BoardRow], required: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The values of `COLUMNS` for each mitigation and attack."""
    for row in rows:
        for attack, entry in row.cells.items():
            yield tuple(_fields(row, entry, attack in required, row.files[attack]))


def as_csv(rows: Sequence[BoardRow], required: Sequence[str]) -> str:
    """A line for each mitigation and attack; an empty field is a number that there is none of."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(_harmless, line) for line in board_lines(rows, required))
    return text.getvalue()


def _fields(row: BoardRow, entry: Entry, required: bool, file: str) -> Iterator[Any]:
    found = row.verdict
    judge = entry.second_judge
    rates = (entry.memorization_rate, entry.oracle_rate, entry.controls_rate)
    kind = row.worst_kind
    yield from (row.group, row.row.rank, row.card.title, row.method.label)
    yield from (row.card.authors, row.card.year, row.row.scope)
    yield from (found.word, found.sentence) if found else (None, None)
    yield from (entry.attack.label, required, entry.curve[-1].budget if entry.curve else None)
    yield from _with_interval(entry.memorization_rate)
    yield from (rate.rate if rate else None for rate in rates[1:])
    yield from _with_interval(entry.erasure_gap)
    yield from (judge.memorized.rate, judge.verdicts.agreement) if judge else (None, None)
    yield from _with_interval(entry.utility)
    yield from (kind[0], kind[1].value) if kind else (None, None)
    yield from (entry.work.search_mean_memorized, entry.errors, file)
    yield from (row.mark.state, row.mark.by or None) if row.mark else (None, None)


def _with_interval(of: Rate | Interval | UtilityShare | None) -> tuple[float | None, ...]:
    if of is None:
        return None, None, None
    return of.rate if isinstance(of, Rate) else of.value, of.low, of.high


def _harmless(value: Any) -> Any:
    """Text that a spreadsheet would compute stands behind an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def as_latex(rows: Sequence[BoardRow], board: Leaderboard) -> str:
    """A table for a paper (booktabs): verdict, utility, and the rate under each required attack."""
    suite, required = board.suite, board.required_attacks
    caption = f"{suite.name} {suite.version}, split {board.split}: memorization rate@{board.k}"
    attacks = [a for a in required if any(a in row.cells for row in rows)]
    lines = [
        "% \\usepackage{booktabs}",
        "\\begin{table}",
        f"\\caption{{{_tex(caption)}}}",
        f"\\begin{{tabular}}{{ll{'r' * (2 + len(attacks))}}}",
        "\\toprule",
        " & ".join(["Mitigation", "Verdict", "Utility", "Worst gap", *map(_tex, attacks)]) + r" \\",
    ]
    for group, of_group in _grouped(rows):
        lines += ["\\midrule", f"% {group}"]
        for row in of_group:
            cells = [row.cells.get(attack) for attack in attacks]
            rates = [cell.memorization_rate if cell else None for cell in cells]
            gap, utility = row.row.worst_gap, row.row.utility
            fields = [
                _tex(row.name),
                row.verdict.word if row.verdict else "--",
                f"{utility.value:.2f}" if utility else "--",
                f"{gap.value:.2f} [{gap.low:.2f}, {gap.high:.2f}]" if gap else "--",
                *(f"{rate.rate:.2f}" if rate else "--" for rate in rates),
            ]
            lines.append(" & ".join(fields) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}", ""])


def _grouped(rows: Sequence[BoardRow]) -> Iterator[tuple[str, list[BoardRow]]]:
    for group in dict.fromkeys(row.group for row in rows):
        yield group, [row for row in rows if row.group == group]


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in printable(text))


def citation(board: Leaderboard, first: Entry) -> str:
    """A BibTeX entry of a board; `first` is one of its entries."""
    suite = board.suite
    return (
        f"@misc{{dorib-{suite.name},\n"
        f"  title = {{dorib leaderboard: {suite.name} {suite.version}, split {board.split}}},\n"
        f"  note  = {{dorib {first.environment.dorib}, suite sha256 {suite.digest}}}\n"
        "}"
    )


def numbers(rows: Sequence[BoardRow], attacks: Sequence[str]) -> dict[str, Any]:
    """What the page's script shows at other budgets and by the other judge, in short lists.

    `rows` holds, by anchor, for each attack None or its rates `[low, rate, high, oracle, controls]`
    by budget under `first`, and within the largest one by the second judge under `second`.
    """
    return {"attacks": list(attacks), "rows": {row.anchor: _of_row(row, attacks) for row in rows}}


def _of_row(row: BoardRow, attacks: Sequence[str]) -> list[dict[str, Any] | None]:
    found: list[dict[str, Any] | None] = []
    for attack in attacks:
        entry = row.cells.get(attack)
        if entry is None or entry.memorization_rate is None:
            found.append(None)
            continue
        first = {p.budget: _short(p.memorized, p.oracle, p.controls) for p in entry.curve}
        cell: dict[str, Any] = {"first": first}
        if entry.second_judge:
            judge = entry.second_judge
            cell["second"] = _short(judge.memorized, judge.oracle, judge.controls)
        found.append(cell)
    return found


def _short(rate: Rate | None, oracle: Rate | None, controls: Rate | None) -> list[float | None]:
    own = [rate.low, rate.rate, rate.high] if rate else [None] * 3
    others = [one.rate if one else None for one in (oracle, controls)]
    return [None if value is None else round(value, 4) for value in (*own, *others)]
