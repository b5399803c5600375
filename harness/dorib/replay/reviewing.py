"""Reviewing a submission: verified, set among the rows of a board, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, ValidationError

from dorib.errors import DoribError
from dorib.host.registry import Registry
from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import Leaderboard, Row
from dorib.ranking.rates import Facts
from dorib.ranking.verdict import verdict
from dorib.reading import Malformed, read_text
from dorib.replay.verifying import Verified, verify
from dorib.report.site.boards import Board, read_board
from dorib.reporting import Reporter
from dorib.store.files import write_json
from dorib.validation import first_problem

MARKS_FILE = "marks.json"
State: TypeAlias = Literal["verified", "unverified", "failed"]
NEIGHBOURS = 3
"""Rows that are shown on each side of a new one."""


class Mark(Facts):
    """What is known of a row's claim."""

    state: State
    by: str = ""
    """Who verified it."""
    reason: str = ""
    """Where it failed: what is not so."""


class Marks(Facts):
    """By a mitigation's label, its row's mark; a row that is not named is unverified."""

    rows: dict[str, Mark] = Field(default_factory=dict)


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
) -> Review:
    """Verify a submission and set its rows among those of a board.

    Args:
        submission: what `dorib submit` wrote.
        board: the folder of the leaderboard that it is for.
        registry: where metrics, probes, rules and suites are looked up.
        reporter: hears of each verb that has work to do.
        by: who verifies.
        suite, large: as `verify` has them.

    Raises:
        DoribError: one of the two cannot be read, or they cannot be compared.
    """
    new, there = read_board(submission, registry), read_board(board, registry)
    _refuse_incomparable(new, there)
    found = verify(submission, registry, reporter, suite=suite, large=large)
    marks = _marks(new, found, by)
    known = read_marks(board).rows
    rows = [_placed(row, there, _state(known, row), is_new=False) for row in _rows(there)]
    notes: list[str] = []
    for row in _rows(new):
        placed = _placed(row, new, marks[row.mitigation.label].state, is_new=True)
        rows, note = settled(rows, placed)
        notes += [note] if note else []
    return Review(marks, _around(rows), tuple(notes))


def settled(rows: Sequence[Placed], new: Placed) -> tuple[list[Placed], str | None]:
    """The rows of a board once a new one has come, and what is to be said of that.

    A row that is measured again takes the place of the one that is there only where its worst gap
    is no smaller: a re-evaluation may lower a robustness figure, and not raise it.
    """
    before = next((row for row in rows if row.label == new.label), None)
    if before is None:
        return [*rows, new], None
    if before.gap is not None and (new.gap is None or new.gap < before.gap):
        return [*rows], (
            f"{new.label}: the board's row stays, with a worst gap of {before.gap:.3f}; "
            "a re-evaluation may only lower a robustness figure"
        )
    others = [row for row in rows if row is not before]
    return [*others, new], f"{new.label}: takes the place of the board's row"


def read_marks(board: Path) -> Marks:
    """The marks of a board's rows; none where there is no such file.

    Raises:
        DoribError: the file is damaged.
    """
    path = board / MARKS_FILE
    try:
        return Marks.model_validate_json(read_text(path))
    except FileNotFoundError:
        return Marks()
    except Malformed as error:
        raise DoribError(f"{path}: cannot be read ({error}); restore the file") from error
    except ValidationError as error:
        raise DoribError(f"{path}: holds no marks ({first_problem(error)}); restore it") from error


def write_marks(board: Path, new: dict[str, Mark]) -> None:
    """Add marks to those of a board.

    Raises:
        DoribError: the file that is there is damaged.
        OSError: the disk is full or not writable.
    """
    marks = Marks(rows=dict(sorted((read_marks(board).rows | new).items())))
    write_json(board / MARKS_FILE, marks.model_dump(mode="json"))


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


def _refuse_incomparable(new: Board, there: Board) -> None:
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


def _marks(new: Board, found: Verified, by: str) -> dict[str, Mark]:
    """A claim fails with any cell of its row, and with any of the reference lines beside it."""
    lines = {row.mitigation.label for row in new.leaderboard.reference_rows}
    marks = {}
    for row in _rows(new):
        label = row.mitigation.label
        wrong = [
            f"{cell.mitigation} x {cell.attack}: {cell.reasons[0]}"
            for cell in found.cells
            if cell.outcome.is_lie and cell.mitigation in (label, *lines)
        ]
        state: State = "failed" if wrong else "verified"
        marks[label] = Mark(state=state, by=by, reason=wrong[0] if wrong else "")
    return marks


def _rows(board: Board) -> Sequence[Row]:
    of: Leaderboard = board.leaderboard
    return (*of.rows, *of.per_sample_rows)


def _state(known: dict[str, Mark], row: Row) -> State:
    mark = known.get(row.mitigation.label)
    return mark.state if mark else "unverified"


def _placed(row: Row, board: Board, mark: State, *, is_new: bool) -> Placed:
    cells: list[Entry] = [e for e in board.entries if e.mitigation.label == row.mitigation.label]
    said = verdict(cells)
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
