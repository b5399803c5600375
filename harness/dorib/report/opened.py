"""The results of a run, read back from the folder it left: what a notebook works on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dorib.contracts.specs import MethodSpec
from dorib.errors import DoribError
from dorib.host.registry import discover
from dorib.printable import shortened
from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import LEADERBOARD_FILE, Leaderboard, entry_file
from dorib.ranking.records import Record, read_records
from dorib.report.html import Place, results_html
from dorib.report.site.boards import read_board
from dorib.reprs import in_one_line

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Results:
    """What a run left in its folder; a notebook shows it as a table with strips of pictures."""

    folder: Path
    leaderboard: Leaderboard
    entries: tuple[Entry, ...]
    """One for each mitigation and attack: reference lines first, then as the leaderboard has it."""

    def records(self) -> Iterator[Record]:
        """Every measured value and every error, as they are read from `records.jsonl`.

        Raises:
            DoribError: the file is missing, or a line is no record.
        """
        path = self.folder / "records.jsonl"
        if not path.is_file():
            raise DoribError(
                f"{path}: missing; run again, or open a folder that `dorib run` wrote: published "
                "leaderboards come without records"
            )
        return read_records(path)

    def to_pandas(self) -> DataFrame:
        """The records as a table: a row for each, a column for each field of `Record`.

        Raises:
            DoribError: pandas is not installed, or as `records`.
        """
        try:
            from pandas import DataFrame
        except ImportError as error:
            raise DoribError(
                'to_pandas: pandas is missing, which holds the table; pip install "dorib[pandas]"'
            ) from error
        rows = [record.model_dump() for record in self.records()]
        table = DataFrame(rows, columns=list(Record.model_fields))
        # Without these, a column with gaps would hold Python objects, or seeds such as 1.0.
        return table.astype({"budget": "int64", "seed": "Int64", "value": "float64"})

    def pictures(self) -> dict[Place, Path]:
        """By mitigation, attack and memorized sample, the PNG file of its strip.

        A strip shows original, unmitigated, mitigated and attacked side by side. There are none
        where a leaderboard was published without.

        Raises:
            DoribError: as `records`, where there are pictures.
        """
        if not (self.folder / "pictures").is_dir():
            return {}
        strips = {}
        for entry in self.entries:
            folder = self.folder / "pictures" / Path(entry_file(entry)).stem
            # Looked up among what is there: a name from a records file leads nowhere else.
            there = {path.stem: path for path in folder.glob("*.png")}
            for sample in self._memorized:
                if sample in there:
                    strips[entry.mitigation.label, entry.attack.label, sample] = there[sample]
        return strips

    @cached_property
    def samples(self) -> frozenset[str]:
        """Ids of the samples that were attacked.

        Raises:
            DoribError: as `records`.
        """
        found = (record.sample for record in self.records() if record.role != "utility")
        return frozenset(sample for sample in found if sample is not None)

    @cached_property
    def _memorized(self) -> tuple[str, ...]:
        """Ids of the memorized samples of this run: the folder may hold strips of former ones."""
        found = (record.sample for record in self.records() if record.role == "memorized")
        return tuple(dict.fromkeys(sample for sample in found if sample is not None))

    def __repr__(self) -> str:
        board = self.leaderboard
        return in_one_line(
            type(self).__name__,
            folder=str(self.folder),
            suite=board.suite.name,
            split=board.split,
            profile=board.profile,
            entries=len(self.entries),
        )

    def _repr_html_(self) -> str:
        return results_html(self.entries, self.pictures())


def open_results(folder: Path) -> Results:
    """The results in `folder`, as `dorib run` left or `leaderboards` publishes them.

    Raises:
        DoribError: there are none, a file is damaged, or the leaderboard does not follow from the
            entries.
    """
    if not (folder / LEADERBOARD_FILE).is_file():
        inside = [str(path.parent) for path in sorted(folder.glob(f"*/{LEADERBOARD_FILE}"))]
        advice = (
            f"open one of {', '.join(inside)}"
            if inside
            else ("give the folder that a finished `dorib run --out` wrote")
        )
        raise DoribError(f"{folder}: no {LEADERBOARD_FILE} in it; {advice}")
    board = read_board(folder, discover())
    return Results(folder, board.leaderboard, board.entries)


def known_label(asked: str, labels: Sequence[str], problem: str) -> str:
    """The label that is meant: as it stands, or in the form in which labels are written.

    Raises:
        DoribError: there is none; `problem` opens the line.
    """
    if asked in labels:
        return asked
    written = str(MethodSpec.parse(asked))
    if written in labels:
        return written
    raise DoribError(f"{problem} {shortened(asked)} in that run; choose from: {', '.join(labels)}")
