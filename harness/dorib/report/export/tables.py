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
from dorib.report.export.parquet import Picture, require_parquet, write_parquet
from dorib.report.opened import Results, open_results
from dorib.report.site.downloads import (
    COLUMNS,
    CSV_FILE,
    TEX_FILE,
    as_csv,
    as_latex,
    board_lines,
)
from dorib.report.site.pictures import Pictures, read_pictures
from dorib.report.site.rows import BoardRow, board_rows
from dorib.report.site.suites import installed_suite
from dorib.store.files import named_write_errors, whole_folder
from dorib.suites.manifest import Sample
from dorib.suites.suite import Suite, load_suite

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
    **{"licence": str, "source": str},
}
"""Of the pictures' table; licence and source are the original's."""


def export_tables(
    out: Path,
    forms: Collection[TableForm],
    *,
    to: Path | None = None,
    suite: str | None = None,
) -> Path:
    """Write a board as tables into a folder that is not there yet.

    Args:
        out: the folder of a run, or of a published leaderboard.
        forms: one or several.
        to: the folder (None: one in `out`).
        suite: a name or a folder, where the suite is not registered by the name it has: its
            licence and those of its originals stand in the card.

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
    rows = board_rows(board, results.entries)
    with named_write_errors(to, "--to"), whole_folder(to) as folder:
        if "csv" in forms:
            text = as_csv(rows, board.required_attacks)
            (folder / CSV_FILE).write_text(text, encoding="utf-8")
        if "latex" in forms:
            (folder / TEX_FILE).write_text(as_latex(rows, board), encoding="utf-8")
        if {"parquet", "hf"} & set(forms):
            _write_board(folder, results, rows)
        if "hf" in forms:
            _write_dataset(folder, results, _suite_of(results, suite))
    return to


def _write_board(folder: Path, results: Results, rows: list[BoardRow]) -> None:
    lines = board_lines(rows, results.leaderboard.required_attacks)
    write_parquet(folder / "leaderboard.parquet", COLUMNS, lines)
    if (results.folder / RECORDS_FILE).is_file():
        values = (tuple(record.model_dump().values()) for record in results.records())
        write_parquet(folder / "records.parquet", RECORD_COLUMNS, values)


def _write_dataset(folder: Path, results: Results, suite: Suite | None) -> None:
    pictures = read_pictures(results.folder, results.entries)
    if pictures is not None:
        known = {sample.id: sample for sample in suite.samples} if suite else {}
        lines = _picture_lines(results, pictures, known)
        write_parquet(folder / "pictures.parquet", PICTURE_COLUMNS, lines)
    names = [path.stem for path in folder.glob("*.parquet")]
    card = dataset_card(results, names, suite.manifest if suite else None)
    (folder / README).write_text(card, encoding="utf-8")


def _picture_lines(
    results: Results, pictures: Pictures, known: dict[str, Sample]
) -> Iterator[tuple[Any, ...]]:
    for sample in pictures.samples:
        of_suite = known.get(sample.id)
        about = (of_suite.licence, of_suite.source) if of_suite else (None, None)
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
                *about,
            )


def _suite_of(results: Results, given: str | None) -> Suite | None:
    registry = discover()
    if given is None:
        return installed_suite(results.leaderboard, registry)
    suite = load_suite(given, registry)
    if suite.digest() != results.leaderboard.suite.digest:
        raise DoribError(f"suite {given}: is not the one of {results.folder}; give that by --suite")
    return suite
