"""The look of the listings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from dorib.printable import printable

NARROW = 12
"""Characters: a column of texts is folded to no less, one of shorter ones not at all."""


def plain_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table without frame; its cells are shown as they are, square brackets and all.

    Long texts are folded, numbers and short words never.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False)
    cells = [[Text(printable(cell, keep="\n")) for cell in row] for row in rows]
    for place, title in enumerate(titles):
        widths = [len(title), *(longest_line(row[place]) for row in cells)]
        table.add_column(title, overflow="fold", min_width=min(NARROW, max(widths)))
    for row in cells:
        table.add_row(*row)
    return table


def line_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table without frame of one line a row, whatever the terminal's width."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    cells = [[Text(printable(cell)) for cell in row] for row in rows]
    for place, title in enumerate(titles):
        widths = [len(title), *(row[place].cell_len for row in cells)]
        table.add_column(title, no_wrap=True, min_width=max(widths))
    for row in cells:
        table.add_row(*row)
    return table


def longest_line(text: Text) -> int:
    """Columns that the longest line of a text takes."""
    return max((line.cell_len for line in text.split("\n")), default=0)
