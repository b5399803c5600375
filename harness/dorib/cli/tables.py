"""The look of the listings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table
from rich.text import Text


def plain_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table without frame; its cells are shown as they are, square brackets and all."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
