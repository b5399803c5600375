"""Write the tables of docs/reproduction.md that are of the published board.

`python -m board_tables` from `benchmarks`, after the board has changed. A row is told under the
title that `rows.yaml` gives it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

import dorib
from board_tables.tables import further_table, ranked_table, untold, with_tables

ROOT = Path(__file__).parents[2]
BOARD = ROOT / "leaderboards" / "tiny"
PAGE = ROOT / "docs" / "reproduction.md"
ROWS = Path(__file__).parent / "rows.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """From the command line."""
    parser = argparse.ArgumentParser(prog="python -m board_tables", description=__doc__)
    parser.add_argument("--board", type=Path, default=BOARD, help="the leaderboard's folder")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    asked = parser.parse_args(arguments)
    board = dorib.open(asked.board)
    titles = yaml.safe_load(ROWS.read_text(encoding="utf-8"))
    there = {entry.mitigation.label for entry in board.entries}
    if label := next(untold(board, titles), None):
        print(f"{ROWS}: has no title for {label}; add one", file=sys.stderr)
        return 2
    if label := next((label for label in titles.values() if label not in there), None):
        print(f"{ROWS}: {label} is not on {asked.board}; leave it out", file=sys.stderr)
        return 2
    tables = ranked_table(board, titles), further_table(board, titles)
    page = with_tables(asked.page.read_text(encoding="utf-8"), *tables)
    dorib.write_text(asked.page, page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
