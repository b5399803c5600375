"""Reviewing a submission: verified, set among the rows of a board, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dorib.errors import DoribError
from dorib.host.registry import Registry
from dorib.ranking.leaderboard import Row
from dorib.ranking.verdict import verdict
from dorib.replay.marking import cells_of, marks_of, rows_of
from dorib.replay.verifying import verify
from dorib.report.site.boards import Board, read_board
from dorib.report.site.marks import Mark, State, read_marks
from dorib.reporting import Reporter

NEIGHBOURS = 3
"""Rows that are shown on each side of a new one."""


@dataclass(frozen=True)
class Placed:
    """A row among others."""

    label: str
    gap: float | None
    low: float | None
    high: float | None
    worst_attack: str | None
    utility: float | None
    verdict: str
    mark: State
    is_new: bool


@dataclass(frozen=True)
class Review:
    """What came of reviewing a submission."""

    marks: dict[str, Mark]
    """By label, of the submission's rows."""
    table: tuple[Placed, ...]
    """The new rows and those around them, by rising worst gap; unranked rows last."""
    notes: tuple[str, ...]
    taken: tuple[str, ...]
    """The labels of the submission's rows that have a place on the board."""
    model: str
    """Digest of the target model, by the code that verified."""

    @property
    def failed(self) -> bool:
        """Whether a claim did not come out."""
        return any(mark.state == "failed" for mark in self.marks.values())


def review(
    submission: Path,
    board: Path,
    registry: Registry,
    reporter: Reporter,
    *,
    by: str = "",
    suite: str | None = None,
    large: Path | None = None,
    pictures: Path | None = None,
) -> Review:
    """Verify a submission and set its rows among those of a board.

    Args:
        submission: what `dorib submit` wrote.
        board: the folder of the leaderboard that it is for.
        registry: where metrics, probes, rules and suites are looked up.
        reporter: hears of each verb that has work to do.
        by: who verifies.
        suite, large, pictures: as `verify` has them.

    Raises:
        DoribError: one of the two cannot be read, or they cannot be compared.
    """
    new, there = read_board(submission, registry), read_board(board, registry)
    refuse_incomparable(new, there)
    found = verify(submission, registry, reporter, suite=suite, large=large, pictures=pictures)
    marks = marks_of(new, found, by)
    known = read_marks(board)
    rows = [
        _placed(row, there, known.of(row.mitigation.label, cells_of(there, row)).state)
        for row in rows_of(there)
    ]
    notes: list[str] = []
    for row in rows_of(new):
        placed = _placed(row, new, marks[row.mitigation.label].state, is_new=True)
        rows, note = settled(rows, placed)
        notes += [note] if note else []
    taken = tuple(row.label for row in rows if row.is_new)
    return Review(marks, _around(rows), tuple(notes), taken, found.model)


def settled(rows: Sequence[Placed], new: Placed) -> tuple[list[Placed], str | None]:
    """The rows of a board once a new one has come, and what is to be said of that.

    A row that is measured again takes the place of the one that is there only where its worst gap
    is no smaller, and its claim came out: a re-evaluation may lower a robustness figure, and not
    raise it.
    """
    before = next((row for row in rows if row.label == new.label), None)
    if before is None:
        return [*rows, new], None
    if new.mark != "verified":
        return [*rows], f"{new.label}: the board's row stays; the claim of the new one: {new.mark}"
    if before.gap is not None and (new.gap is None or new.gap < before.gap):
        return [*rows], (
            f"{new.label}: the board's row stays, with a worst gap of {before.gap:.3f}; "
            "a re-evaluation may only lower a robustness figure"
        )
    others = [row for row in rows if row is not before]
    return [*others, new], f"{new.label}: takes the place of the board's row"


def as_markdown(found: Review) -> str:
    """A review as a comment on a pull request has it."""
    lines = [
        f"* `{label}`: **{mark.state}**" + (f": {mark.reason}" if mark.reason else "")
        for label, mark in found.marks.items()
    ]
    lines += [f"* {note}" for note in found.notes]
    lines += [
        "",
        "| | row | worst gap | under | utility | verdict | claim |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found.table:
        gap = "-" if row.gap is None else f"{row.gap:.3f} ({row.low:.3f} to {row.high:.3f})"
        utility = "-" if row.utility is None else f"{row.utility:.2f}"
        under = f"`{row.worst_attack}`" if row.worst_attack else "-"
        lines.append(
            f"| {'new' if row.is_new else ''} | `{row.label}` | {gap} | {under} | {utility} | "
            f"{row.verdict} | {row.mark} |"
        )
    return "\n".join(lines) + "\n"


def refuse_incomparable(new: Board, there: Board) -> None:
    """Refuse a submission whose numbers have no common order with a board's.

    Raises:
        DoribError: names the first thing in which the two differ.
    """
    for name in ("suite", "split", "profile", "k", "required_attacks"):
        one, other = (getattr(board.leaderboard, name) for board in (new, there))
        if one != other:
            raise DoribError(
                f"{new.folder}: has another {name.replace('_', ' ')} than {there.folder}; run it "
                "as that board was"
            )
    budgets = [
        {tuple(point.budget for point in e.curve) for e in board.entries if e.searches}
        for board in (new, there)
    ]
    if budgets[0] and budgets[1] and budgets[0] != budgets[1]:
        raise DoribError(f"{new.folder}: has other budgets than {there.folder}; run it with those")
    if new.entries[0].stack != there.entries[0].stack:
        raise DoribError(f"{new.folder}: was judged otherwise than {there.folder}; run it anew")


def _placed(row: Row, board: Board, mark: State, *, is_new: bool = False) -> Placed:
    said = verdict([*cells_of(board, row).values()])
    gap = row.worst_gap if row.reason_not_ranked is None else None
    return Placed(
        label=row.mitigation.label,
        gap=gap.value if gap else None,
        low=gap.low if gap else None,
        high=gap.high if gap else None,
        worst_attack=row.worst_attack if gap else None,
        utility=row.utility.value if row.utility else None,
        verdict=said.word if said else "-",
        mark=mark,
        is_new=is_new,
    )


def _around(rows: Sequence[Placed]) -> tuple[Placed, ...]:
    order = sorted(rows, key=lambda row: (row.gap is None, row.gap or 0.0, row.label))
    near = {
        beside
        for place, row in enumerate(order)
        if row.is_new
        for beside in range(place - NEIGHBOURS, place + NEIGHBOURS + 1)
    }
    return tuple(row for place, row in enumerate(order) if place in near)
