"""What a replay says of the claims of rows: verified, failed and where, or nothing."""

from __future__ import annotations

from collections.abc import Sequence

from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import Leaderboard, Row
from dorib.replay.comparing import Outcome
from dorib.replay.verifying import Verified
from dorib.report.site.boards import Board
from dorib.report.site.marks import Mark, State, claimed


def marks_of(board: Board, found: Verified, by: str) -> dict[str, Mark]:
    """By label, the marks of a board's rows after they were replayed.

    A claim is what a row is ranked by. It fails with any cell of its row, and with any of the
    reference lines beside it. One ranked by a witness that lies elsewhere is left unverified.

    Args:
        board: what was verified, all of it.
        found: what came of that.
        by: who verified.
    """
    lines = {row.mitigation.label for row in board.leaderboard.reference_rows}
    required = board.leaderboard.required_attacks
    marks = {}
    for row in rows_of(board):
        label = row.mitigation.label
        wrong = {
            cell.outcome: f"{cell.mitigation} x {cell.attack}: {cell.reasons[0]}"
            for cell in reversed(found.cells)
            if cell.mitigation in (label, *lines)
            and (cell.outcome.is_lie or (not cell.outcome.holds and cell.attack in required))
        }
        worst = max(wrong, default=Outcome.SAME)
        state: State = "verified"
        if not worst.holds:
            state = "failed" if worst.is_lie else "unverified"
        reason = wrong.get(worst, "")
        verified = claimed(cells_of(board, row))
        marks[label] = Mark(state=state, by=by, reason=reason, digest=verified)
    return marks


def rows_of(board: Board) -> Sequence[Row]:
    """A board's rows that claim something: all but its reference lines."""
    of: Leaderboard = board.leaderboard
    return (*of.rows, *of.per_sample_rows)


def cells_of(board: Board, row: Row) -> dict[str, Entry]:
    """A row's entries by the attack's label."""
    label = row.mitigation.label
    return {e.attack.label: e for e in board.entries if e.mitigation.label == label}
