"""The look of the listings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from textwrap import indent
from typing import Literal

from rich import box
from rich.table import Table
from rich.text import Text

from dorib.printable import printable

LABEL_WIDTH = 24
"""Characters of a method's label on one line, in a table that 80 columns do for."""
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


def figures_columns(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table without frame or rows: labels on the left, then figures; none is ever narrowed."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for place, title in enumerate(titles):
        width = max(longest_line(Text(text)) for text in (title, *(row[place] for row in rows)))
        justify: Literal["left", "right"] = "right" if place else "left"
        table.add_column(title, justify=justify, no_wrap=True, min_width=width)
    return table


def heading_label(label: str) -> str:
    """A mitigation's label, above those of the attacks on it."""
    return _packed(label, LABEL_WIDTH)


def cell_label(label: str) -> str:
    """An attack's label, below the mitigation's."""
    return indent(_packed(label, LABEL_WIDTH - 2), "  ")


def _packed(label: str, width: int) -> str:
    """A long label on several lines, broken between its parameters; within one that is too long."""
    lines = [""]
    longest = width - len("  ") - len(",")
    for piece in re.findall(rf"[^:,]{{1,{longest}}}[:,]?|[:,]", printable(label)):
        if lines[-1] and len(lines[-1]) + len(piece) > width:
            lines.append("  ")
        lines[-1] += piece
    return "\n".join(lines)


def longest_line(text: Text) -> int:
    """Columns that the longest line of a text takes."""
    return max((line.cell_len for line in text.split("\n")), default=0)
