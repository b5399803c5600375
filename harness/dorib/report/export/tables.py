"""A board in the forms of tables: CSV, LaTeX, Parquet, and a folder for Hugging Face `datasets`."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

from dorib.errors import DoribError
from dorib.host.registry import discover
from dorib.ranking.records import Record
from dorib.report.board.publishing import RECORDS_FILE
from dorib.report.export.card import dataset_card
from dorib.report.export.export import EXPORTS, README
from dorib.report.export.galleries import publishable, withheld
from dorib.report.export.parquet import Picture, require_parquet, write_parquet
from dorib.report.export.suites import suite_of
from dorib.report.opened import Results, open_results
from dorib.report.site.downloads import (
    COLUMNS,
    CSV_FILE,
    TEX_FILE,
    as_csv,
    as_latex,
    board_lines,
)
from dorib.report.site.marks import read_marks
from dorib.report.site.pictures import Pictures, pictures_of, read_pictures
from dorib.report.site.rows import BoardRow, board_rows
from dorib.store.files import named_write_errors, whole_folder
from dorib.store.store import Note
from dorib.suites.attribution import attributions
from dorib.suites.suite import Suite

TableForm: TypeAlias = Literal["csv", "latex", "parquet", "hf"]
TABLE_FORMS: tuple[TableForm, ...] = ("csv", "latex", "parquet", "hf")
TABLES = "tables"
"""Folder in a run's exports in which tables lie, unless another place is named."""
_NUMBERS = {"budget": int, "seed": int, "value": float}
RECORD_COLUMNS: dict[str, type] = {name: _NUMBERS.get(name, str) for name in Record.model_fields}
PICTURE_COLUMNS: dict[str, type] = {
    **{"sample": str, "role": str, "caption": str, "cluster": str, "original": Picture},
    **{"mitigation": str, "attack": str, "picture": Picture, "budget": int, "number": int},
    **{"likeness": float, "second_likeness": float, "replicates": bool, "broken_at": int},
    **dict.fromkeys(("title", "author", "licence", "source", "page"), str),
}
"""Of the pictures' table; what stands last is of the original."""


def _unheard(text: str) -> None:
    """For callers who do not want to hear."""


def export_tables(
    out: Path,
    forms: Collection[TableForm],
    *,
    to: Path | None = None,
    suite: str | None = None,
    note: Note = _unheard,
) -> Path:
    """Write a board as tables into a folder that is not there yet.

    Args:
        out: the folder of a run, or of a published leaderboard.
        forms: one or several.
        to: the folder (None: one in `out`).
        suite: a name or a folder, where the suite is not registered by the name it has: its
            licence and those of its originals stand in the card.
        note: hears of pictures whose licences do not let them be published: they are left out.

    Returns:
        The folder.

    Raises:
        DoribError: there is no board or it is damaged, pyarrow is missing, the suite is another
            one, or the folder is there already or cannot be written.
    """
    if {"parquet", "hf"} & set(forms):
        require_parquet()
    results = open_results(out)
    to = to or out / EXPORTS / TABLES
    if os.path.lexists(to):
        raise DoribError(f"{to}: is there already; name another folder by --to, or remove it")
    board = results.leaderboard
    rows = board_rows(board, results.entries, read_marks(results.folder))
    with named_write_errors(to, "--to"), whole_folder(to) as folder:
        if "csv" in forms:
            text = as_csv(rows, board.required_attacks)
            (folder / CSV_FILE).write_text(text, encoding="utf-8")
        if "latex" in forms:
            (folder / TEX_FILE).write_text(as_latex(rows, board), encoding="utf-8")
        if {"parquet", "hf"} & set(forms):
            _write_board(folder, results, rows)
        if "hf" in forms:
            _write_dataset(folder, results, suite_of(results, suite, discover()), note)
    return to


def _write_board(folder: Path, results: Results, rows: list[BoardRow]) -> None:
    lines = board_lines(rows, results.leaderboard.required_attacks)
    write_parquet(folder / "leaderboard.parquet", COLUMNS, lines)
    if (results.folder / RECORDS_FILE).is_file():
        values = (tuple(record.model_dump().values()) for record in results.records())
        write_parquet(folder / "records.parquet", RECORD_COLUMNS, values)


def _write_dataset(folder: Path, results: Results, suite: Suite | None, note: Note) -> None:
    pictures = read_pictures(results.folder, results.entries)
    left_out: dict[str, str] = {}
    if pictures is not None:
        gallery = publishable(pictures.gallery, attributions(suite) if suite else {})
        left_out = withheld(gallery)
        lines = _picture_lines(results, pictures_of(gallery, results.entries))
        write_parquet(folder / "pictures.parquet", PICTURE_COLUMNS, lines)
    for sample, reason in left_out.items():
        note(f"{sample}: its pictures are left out; {reason}")
    names = [path.stem for path in folder.glob("*.parquet")]
    card = dataset_card(results, names, suite.manifest if suite else None, left_out)
    (folder / README).write_text(card, encoding="utf-8")


def _picture_lines(results: Results, pictures: Pictures) -> Iterator[tuple[Any, ...]]:
    for sample in pictures.samples:
        if sample.original is None or sample.attribution is None:
            continue
        about = sample.attribution
        original = results.folder / sample.original
        for entry in results.entries:
            labels = entry.mitigation.label, entry.attack.label
            shown = pictures.of(sample.id, *labels)
            if shown is None or shown.pictured.picture is None:
                continue
            one = shown.pictured
            picture = results.folder / shown.pictured.picture
            replicates = None
            if one.likeness is not None and shown.threshold is not None:
                replicates = one.likeness >= shown.threshold
            yield (
                *(sample.id, sample.role, sample.caption, sample.cluster, original),
                *(*labels, picture, one.budget, one.number),
                *(one.likeness, one.second_likeness, replicates, shown.broken_at),
                *(about.title, about.author, about.licence, about.source, about.page),
            )
