"""The pages: one for each board, and a list of them where there are several."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dorib.host.registry import Registry, discover
from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import CellSummary, Row, entry_file
from dorib.ranking.rates import Interval, Rate, UtilityShare
from dorib.report.figures import house_style, require_figures, save_figure
from dorib.report.site.boards import Board, find_boards, read_board
from dorib.report.webpages import template_environment
from dorib.store.files import named_write_errors, write_text

PAGE = "index.html"
FIGURE = "rates.svg"
LOCALITY = f"locality/*/{PAGE}"
"""Where `dorib locality` leaves its pages below a run's folder: one for each attack."""


@dataclass(frozen=True)
class Section:
    """A table of the page."""

    title: str
    about: str
    rows: tuple[Row, ...]


def write_site(root: Path, registry: Registry | None = None) -> list[Path]:
    """Write `index.html` into each board's folder, and one that lists them into `root`.

    Leaderboards of suites in `registry` (None: all installed) are held against them.

    Gives the pages, the one to open first at the front.

    Raises:
        DoribError: a library is missing, a board is broken, or the disk is full or not writable.
    """
    require_figures("site")
    # All are read before anything is written.
    known = registry or discover()
    boards = [read_board(folder, known) for folder in find_boards(root)]
    pages = []
    with named_write_errors(root):
        for board in boards:
            pages.append(_write_board(board))
        if boards[0].folder != root:
            page = template_environment("dorib.report.site").get_template("boards.html")
            write_text(root / PAGE, page.render(boards=boards, page=PAGE))
            pages.insert(0, root / PAGE)
    return pages


def _write_board(board: Board) -> Path:
    from dorib.report.site.curves import rates_over_budgets

    with house_style():
        figure = rates_over_budgets(board.entries)
        if figure is not None:
            save_figure(figure, board.folder / FIGURE)
    environment = template_environment("dorib.report.site")
    environment.filters |= {"range": _range, "pieces": _pieces}
    text = environment.get_template("board.html").render(
        board=board.leaderboard,
        first=board.entries[0],
        sections=_sections(board),
        attacks=_attacks(board),
        figure=FIGURE if figure is not None else None,
        studies=_studies(board),
        strips=_strips(board),
        cell_of=_cell_of,
    )
    write_text(board.folder / PAGE, text)
    return board.folder / PAGE


def _sections(board: Board) -> list[Section]:
    found = board.leaderboard
    sections = [
        Section(
            "Mitigations",
            "By their worst erasure gap, the smallest first.",
            found.rows,
        ),
        Section(
            "Mitigations for one image each",
            "These presuppose knowing which image is asked for, and are ranked among themselves.",
            found.per_sample_rows,
        ),
        Section(
            "Reference lines",
            "The model as it is, and a model trained without the memorized images.",
            found.reference_rows,
        ),
    ]
    return [section for section in sections if section.rows]


def _attacks(board: Board) -> list[str]:
    """The columns: attacks that were run, required ones first."""
    ran = list(dict.fromkeys(entry.attack.label for entry in board.entries))
    required = [attack for attack in board.leaderboard.required_attacks if attack in ran]
    return list(dict.fromkeys([*required, *ran]))


def _strips(board: Board) -> list[tuple[Entry, str]]:
    """Overviews of pictures, where a run left them beside its leaderboard."""
    found = []
    for entry in board.entries:
        slug = Path(entry_file(entry)).stem
        path = f"pictures/{slug}/overview.png"
        if (board.folder / path).is_file():
            found.append((entry, path))
    return found


def _studies(board: Board) -> dict[str, str]:
    """Pages of locality studies beside the leaderboard, by attack."""
    # An entry's file is named by mitigation and attack, a study's folder by attack.
    labels = {entry_file(entry).split(".")[1]: entry.attack.label for entry in board.entries}
    pages = sorted(path for path in board.folder.glob(LOCALITY) if path.is_file())
    return {
        labels.get(page.parent.name, page.parent.name): page.relative_to(board.folder).as_posix()
        for page in pages
    }


def _cell_of(row: Row, attack: str) -> CellSummary | None:
    return next((cell for cell in row.cells if cell.attack == attack), None)


def _range(value: Interval | Rate | UtilityShare) -> str:
    if value.low is None or value.high is None:
        return "too few prompts for an interval"
    return f"{value.low:.2f} to {value.high:.2f}"


def _pieces(label: str) -> list[str]:
    """Where a long label may break: between its parameters."""
    return re.split(r"(?<=[:,])", label)
