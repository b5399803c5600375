"""The pages: one for each board, its rows and its samples, and one that lists several boards."""

from __future__ import annotations

import datetime
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dorib.host.registry import Registry, discover
from dorib.ranking.leaderboard import entry_file
from dorib.ranking.rates import Interval, Rate, UtilityShare
from dorib.ranking.verdict import AGREEMENT, MARGIN, WORDS
from dorib.report.figures import require_figures
from dorib.report.site import charts
from dorib.report.site.boards import Board, find_boards, read_board
from dorib.report.site.downloads import (
    CSV_FILE,
    TEX_FILE,
    as_csv,
    as_latex,
    citation,
    numbers,
)
from dorib.report.site.history import Change, read_history, record_changes
from dorib.report.site.marks import STATES, read_marks
from dorib.report.site.mitigations import pictured_rows, write_mitigations
from dorib.report.site.pictures import Pictures, read_pictures
from dorib.report.site.rows import GROUPS, BoardRow, attacks_of, board_rows, card_of, shown
from dorib.report.site.samples import SAMPLES, write_samples
from dorib.report.webpages import template_environment
from dorib.store.files import named_write_errors, write_text

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE = "index.html"
LOCALITY = f"locality/*/{PAGE}"
"""Where `dorib locality` leaves its pages below a run's folder: one for each attack."""
META = "meta/meta.svg"
"""Where `dorib meta --out FOLDER/meta` leaves its figure."""


@dataclass(frozen=True)
class Site:
    """One board with all that its pages show."""

    board: Board
    rows: list[BoardRow]
    pictures: Pictures | None
    history: list[Change]

    @property
    def verdicts(self) -> list[tuple[str, int]]:
        """How many rows have each verdict."""
        counts = Counter(row.verdict.word for row in self.rows if row.verdict)
        return [(word, counts[word]) for word in WORDS if counts[word]]

    @property
    def claims(self) -> list[tuple[str, int]]:
        """How many rows' claims are verified, unverified, failed."""
        counts = Counter(row.mark.state for row in self.rows if row.mark)
        return [(state, counts[state]) for state in STATES if counts[state]]

    @property
    def first(self) -> BoardRow | None:
        """The row of the best rank whose claim has not failed."""
        ranked = (row for row in self.rows if row.row.rank is not None)
        return next((row for row in ranked if not row.failed), None)

    @property
    def changes(self) -> list[list[Change]]:
        """The history, the newest first; what happened to several rows on a day is one element."""
        alike = defaultdict(list)
        for change in self.history:
            alike[change.date, change.change, change.by, change.note].append(change)
        return list(alike.values())[::-1]

    def last_change(self, row: BoardRow) -> Change | None:
        """Who measured a row, and when."""
        label = row.method.label
        return next((c for c in reversed(self.history) if c.row == label), None)


def write_site(
    root: Path, registry: Registry | None = None, by: str | None = None, note: str = ""
) -> list[Path]:
    """Write the pages into each board's folder, and one that lists the boards into `root`.

    Leaderboards of suites in `registry` (None: all installed) are held against them. Where `by` is
    given, rows that are new or changed enter the board's history under that name, with `note`.

    Gives the pages, the one to open first at the front.

    Raises:
        DoribError: a library is missing, a board is broken, or the disk is full or not writable.
    """
    require_figures("site")
    # All are read before anything is written.
    known = registry or discover()
    boards = [read_board(folder, known) for folder in find_boards(root)]
    found = [(board, read_pictures(board.folder, board.entries)) for board in boards]
    for board in boards:
        read_history(board.folder)
        read_marks(board.folder)
    environment = _environment()
    pages, sites = [], []
    with named_write_errors(root, None):
        for board, pictures in found:
            rows = board_rows(board.leaderboard, board.entries, read_marks(board.folder))
            if by is not None:
                today = datetime.datetime.now(datetime.UTC).date()
                record_changes(board.folder, rows, by, today, note)
            site = Site(board, rows, pictures, read_history(board.folder))
            sites.append(site)
            pages.append(_write_board(site, environment))
        if boards[0].folder != root:
            page = environment.get_template("boards.html").render(sites=sites, page=PAGE)
            write_text(root / PAGE, page)
            pages.insert(0, root / PAGE)
    return pages


def _write_board(site: Site, environment: Environment) -> Path:
    board, folder, rows = site.board.leaderboard, site.board.folder, site.rows
    columns = attacks_of(board, site.board.entries)
    attacks = [entry.attack.label for entry in columns]
    budgets = sorted({p.budget for e in site.board.entries for p in e.curve if e.searches})
    pictured = pictured_rows(rows, columns, site.pictures) if site.pictures else []
    text = environment.get_template("board.html").render(
        site=site,
        board=board,
        first=site.board.entries[0],
        groups=_groups(rows),
        columns=columns,
        required=board.required_attacks,
        budgets=budgets,
        knowledge=sorted({known for entry in columns for known in entry.knows}),
        families=_choices(row.card.family for row in rows),
        accesses=_choices(row.card.access for row in rows),
        judged_twice=any(entry.second_judge for entry in site.board.entries),
        numbers=numbers(rows, attacks),
        curves=charts.curve_panels(rows, columns),
        pareto=charts.utility_over_gap(rows),
        studies=_studies(site.board),
        meta=META if (folder / META).is_file() else None,
        samples=SAMPLES,
        pages={one.row.anchor: one for one in pictured},
        csv_file=CSV_FILE,
        tex_file=TEX_FILE,
        citation=citation(board, site.board.entries[0]),
    )
    write_text(folder / PAGE, text)
    write_text(folder / CSV_FILE, as_csv(rows, board.required_attacks))
    write_text(folder / TEX_FILE, as_latex(rows, board))
    if site.pictures:
        write_samples(folder, board, rows, columns, site.pictures, environment)
        write_mitigations(folder, board, pictured, environment)
    return folder / PAGE


def _environment() -> Environment:
    environment = template_environment("dorib.report.site")
    environment.filters |= {"range": _range, "pieces": _pieces, "shown": shown}
    environment.globals |= {
        "card_of": card_of,
        "chart": charts,
        "margin": MARGIN,
        "agreement_bar": AGREEMENT,
    }
    return environment


def _groups(rows: Sequence[BoardRow]) -> list[tuple[str, str, list[BoardRow]]]:
    found = [
        (group, about, [r for r in rows if r.group == group]) for group, about in GROUPS.items()
    ]
    return [(group, about, of_group) for group, about, of_group in found if of_group]


def _choices(values: Any) -> list[str]:
    return sorted({value for value in values if value})


def _studies(board: Board) -> dict[str, str]:
    """Pages of locality studies beside the leaderboard, by attack."""
    # An entry's file is named by mitigation and attack, a study's folder by attack.
    labels = {entry_file(entry).split(".")[1]: entry.attack.label for entry in board.entries}
    pages = sorted(path for path in board.folder.glob(LOCALITY) if path.is_file())
    return {
        labels.get(page.parent.name, page.parent.name): page.relative_to(board.folder).as_posix()
        for page in pages
    }


def _range(value: Interval | Rate | UtilityShare) -> str:
    if value.low is None or value.high is None:
        return "too few prompts for an interval"
    return f"{value.low:.2f} to {value.high:.2f}"


def _pieces(label: str) -> list[str]:
    """Where a long label may break: between its parameters."""
    return re.split(r"(?<=[:,])", label)
