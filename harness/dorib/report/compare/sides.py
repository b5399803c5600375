"""What can be one side of a comparison: a board, a row of it, or one of its entries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dorib.errors import DoribError
from dorib.ranking.entries import Entry, read_entry
from dorib.ranking.leaderboard import LEADERBOARD_FILE, entry_file
from dorib.report.compare.samples import Samples, samples_of
from dorib.report.opened import Results, known_label, open_results
from dorib.report.site.pictures import Pictures, read_pictures

ROW = "#"
"""Parts a board's folder from the mitigation that is meant, as in the addresses of its page."""


@dataclass(frozen=True)
class Side:
    """Cells of one board."""

    results: Results
    """The board."""
    entries: tuple[Entry, ...]
    """Those of its cells that are meant."""

    @property
    def folder(self) -> Path:
        """The board's."""
        return self.results.folder

    @cached_property
    def samples(self) -> Samples:
        """What each sample did.

        Raises:
            DoribError: a file is damaged, or nothing in the folder tells of single samples.
        """
        return samples_of(self.results, self.pictures)

    @cached_property
    def pictures(self) -> Pictures | None:
        """What its samples look like; None where the board has no gallery.

        Raises:
            DoribError: the gallery is damaged, or is not that of the entries.
        """
        return read_pictures(self.folder, self.results.entries)

    @property
    def mitigations(self) -> set[str]:
        """Labels of its mitigations."""
        return {entry.mitigation.label for entry in self.entries}

    def file(self, entry: Entry) -> str:
        """Where an entry lies."""
        return str(self.folder / entry_file(entry))


def open_side(given: str) -> Side:
    """Read one side.

    Args:
        given: the folder of a run or of a published leaderboard; such a folder, `#` and a
            mitigation's label; or an entry's file in such a folder.

    Raises:
        DoribError: it is not there or damaged, or holds no such row or entry.
    """
    path, row = Path(given), ""
    if not path.exists():
        folder, _, row = given.partition(ROW)
        path = Path(folder)
    if not path.exists():
        raise DoribError(
            f"{given}: is not there; give the folder that `dorib run --out` wrote, "
            "FOLDER#MITIGATION or an entry's file"
        )
    chosen = read_entry(path) if path.is_file() else None
    folder_of_board = path if chosen is None else path.absolute().parents[1]
    if chosen is not None and not (folder_of_board / LEADERBOARD_FILE).is_file():
        raise DoribError(
            f"{given}: lies beside no {LEADERBOARD_FILE}, so that nothing tells of its samples; "
            "give it as it lies in the folder of its run"
        )
    results = open_results(folder_of_board)
    entries = results.entries
    if chosen is not None:
        entries = tuple(entry for entry in entries if entry == chosen)
        if not entries:
            raise DoribError(
                f"{given}: is no entry of the leaderboard beside it; restore the file, or run again"
            )
    elif row:
        label = _row(row, entries, f"{path}: no mitigation")
        entries = tuple(entry for entry in entries if entry.mitigation.label == label)
    return Side(results, entries)


def _row(asked: str, entries: Iterable[Entry], problem: str) -> str:
    labels = list(dict.fromkeys(entry.mitigation.label for entry in entries))
    return known_label(asked, labels, problem)
