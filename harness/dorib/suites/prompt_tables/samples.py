"""From a prompt table to the rows of a sample table: originals, clusters and splits filled in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dorib.errors import DoribError
from dorib.suites.prompt_tables.columns import fields_of
from dorib.suites.prompt_tables.rows import read_rows
from dorib.suites.prompt_tables.table import PromptTable

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
METADATA = "metadata.jsonl"


class TableRow(NamedTuple):
    """One row, and where it stands."""

    path: Path
    number: int
    fields: dict[str, Any]

    @property
    def where(self) -> str:
        """In words, for messages."""
        return f"{self.path}, row {self.number}"


def read_prompt_table(spec: PromptTable, place: Callable[[str], Path]) -> list[TableRow]:
    """The samples of a prompt table, and the controls beside it, as fields of sample tables.

    What the table leaves open is filled in: `images` are the files in the spec's folder that bear
    the sample's id; samples that share an address or an image are one `cluster`; the `split`
    follows from a hash of the cluster. `place` tells where a path of the spec lies.

    Raises:
        DoribError: a table is missing or unreadable, or a row is wrong (by number); no row is of
            the kind that is asked for.
    """
    path = place(spec.table)
    rows = [
        TableRow(path, number, fields_of(row, number, f"{path}, row {number}", spec.ignore))
        for number, row in read_rows(path)
    ]
    by_id = _files_by_id(place(spec.images))
    for row in rows:
        given = [f"{spec.images}/{name}" for name in row.fields.get("images", ())]
        found = [f"{spec.images}/{name}" for name in by_id.get(row.fields["id"], ())]
        row.fields["images"] = tuple(given or found)
        row.fields.setdefault("role", "memorized")
        if spec.kind is not None:
            row.fields["kind"] = spec.kind
    if spec.only is not None:
        # A control is of no kind.
        rows = [r for r in rows if r.fields.get("kind") == spec.only or _is_control(r)]
    if not any(not _is_control(row) for row in rows):
        raise DoribError(f"{path}: no memorized sample of kind {spec.only}; name another kind")
    if spec.controls is not None:
        rows += read_controls(place(spec.controls), spec.controls)
    _fill_clusters(rows)
    for row in rows:
        row.fields.setdefault("split", _split(row.fields["cluster"], spec.dev_share))
    return rows


def read_controls(folder: Path, name: str) -> list[TableRow]:
    """The controls of a folder with a `metadata.jsonl`: file_name, caption, and what else it says.

    `name` is the folder's path in the suite.

    Raises:
        DoribError: the table is missing or unreadable, or a row is wrong (by number).
    """
    path = folder / METADATA
    rows = []
    for number, row in read_rows(path):
        where = f"{path}, row {number}"
        fields = fields_of(row, number, where, ())
        if "images" not in fields:
            raise DoribError(f"{where}: no file_name; name the control's picture")
        if fields.get("role", "control") != "control":
            raise DoribError(f"{where}: role {fields['role']!r}; in this folder all are controls")
        if fields["id"] == f"row-{number}":
            fields["id"] = f"control-{Path(fields['images'][0]).stem}"
        fields["role"] = "control"
        fields["images"] = tuple(f"{name}/{image}" for image in fields["images"])
        rows.append(TableRow(path, number, fields))
    return rows


def _is_control(row: TableRow) -> bool:
    return bool(row.fields["role"] == "control")


def _files_by_id(folder: Path) -> dict[str, list[str]]:
    """Pictures of a folder by the id they bear: as a file's stem, or as their folder's name."""
    found: dict[str, list[str]] = {}
    if not folder.is_dir():
        return found
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            found.setdefault(path.name, []).extend(f"{path.name}/{p.name}" for p in inside)
        elif path.suffix.lower() in SUFFIXES:
            found.setdefault(path.stem, []).append(path.name)
    return found


def _fill_clusters(rows: Sequence[TableRow]) -> None:
    """Samples that share an original, over any number of steps, are one cluster.

    It is named after the first of them; a cluster that the table states is left as it is.
    """
    leader: dict[str, str] = {}

    def find(node: str) -> str:
        while leader.setdefault(node, node) != node:
            node = leader[node]
        return node

    order = {row.fields["id"]: place for place, row in enumerate(rows)}
    for row in rows:
        own = row.fields["id"]
        for original in _originals(row):
            first, second = find(own), find(f"original {original}")
            # The earlier sample leads, so that the name does not depend on the addresses' order.
            if order.get(second, len(rows)) < order.get(first, len(rows)):
                first, second = second, first
            leader[second] = first
    for row in rows:
        row.fields.setdefault("cluster", find(row.fields["id"]))


def _originals(row: TableRow) -> Iterable[str]:
    return (*row.fields.get("urls", ()), *row.fields["images"])


def _split(cluster: str, dev_share: float) -> str:
    number = int(hashlib.sha256(cluster.encode()).hexdigest()[:8], 16)
    return "dev" if number < dev_share * 2**32 else "test"
