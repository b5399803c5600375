"""Writing the witnesses of a run's entries, from its store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from typing_extensions import override

from dorib.errors import DoribError
from dorib.ranking.entries import Entry
from dorib.ranking.records import Record
from dorib.report.export.stored import Located, locate_edit, locate_triggers
from dorib.report.opened import open_results
from dorib.report.witnesses.places import (
    LARGE,
    edit_place,
    has_own_edit,
    has_own_triggers,
    stub_place,
    triggers_place,
    utility_place,
    values_place,
)
from dorib.report.witnesses.stubs import LARGEST, Stub, check_repository, write_stub
from dorib.report.witnesses.values import values_of, write_values
from dorib.store.files import whole_file
from dorib.store.fingerprint import digest, file_digest
from dorib.store.packs import packed, write_pack
from dorib.store.store import ArtefactKind, Note, Shelf, Store


def write_witnesses(
    out: Path,
    note: Note,
    *,
    to: Path | None = None,
    hub: str | None = None,
    largest: int = LARGEST,
    mitigations: Collection[str] | None = None,
) -> list[Path]:
    """Write the witnesses of a run's entries; gives their files.

    Args:
        out: the folder of a run, with its store and records.
        note: hears of what is damaged in the store, and of what is too large.
        to: the folder of the leaderboard that they are published with (None: `out`).
        hub: where on the hub the large ones will lie, as `owner/name`.
        largest: bytes of a pack that is published beside its entry.
        mitigations: labels of those whose entries are meant (None: all).

    Raises:
        DoribError: there is no such run, or its store no longer holds what the entries state.
        OSError: the disk is full or not writable.
    """
    results = open_results(out)
    of_cell: dict[tuple[str, str], list[Record]] = defaultdict(list)
    of_utility: dict[str, list[Record]] = defaultdict(list)
    for record in results.records():
        if record.attack is not None:
            of_cell[record.mitigation, record.attack].append(record)
        elif record.role == "utility":
            of_utility[record.mitigation].append(record)
    store = _OpenedOnce(out / "store", note)
    if hub is not None:
        check_repository(hub)
    writer = _Writer(to or out, hub, largest, note)
    for entry in results.entries:
        if mitigations is not None and entry.mitigation.label not in mitigations:
            continue
        if has_own_edit(entry):
            writer.pack(edit_place(entry), partial(locate_edit, results, entry, store))
        if has_own_triggers(entry):
            writer.pack(triggers_place(entry), partial(locate_triggers, results, entry, store))
        if not entry.digests.edit:
            continue
        records = of_cell[entry.mitigation.label, entry.attack.label]
        _refuse_others(entry, records, out)
        writer.values(values_place(entry), records)
        if prompts := of_utility.pop(entry.mitigation.label, None):
            writer.values(utility_place(entry), prompts)
    return writer.files


def _refuse_others(entry: Entry, records: list[Record], out: Path) -> None:
    if digest([record.model_dump(mode="json") for record in records]) != entry.digests.records:
        raise DoribError(
            f"{out}: the records of {entry.mitigation.label} x {entry.attack.label} are not those "
            "that its entry was made from; run `dorib report` on the folder"
        )


class _Writer:
    def __init__(self, folder: Path, hub: str | None, largest: int, note: Note) -> None:
        self.folder, self.files = folder, list[Path]()
        self._hub, self._largest, self._note = hub, largest, note

    def place(self, place: PurePosixPath) -> Path:
        """Where a witness is to be written."""
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        self.files.append(path)
        return path

    def values(self, place: PurePosixPath, records: list[Record]) -> None:
        """Write what was measured."""
        with whole_file(self.place(place)) as temporary:
            write_values(values_of(records), temporary)

    def pack(self, place: PurePosixPath, locate: Callable[[], Located]) -> None:
        """Write what `locate` finds, once for all entries that share it."""
        stub = stub_place(place)
        if {self.folder / place, self.folder / stub} & {*self.files}:
            return
        found = locate()
        files = [
            name
            for item in found.folders
            for name in found.shelf.files(item)
            if name.startswith(f"{item}/")
        ]
        size = sum((found.folders[f.partition("/")[0]] / f).stat().st_size for f in files)
        is_large = size > self._largest
        path = self.folder / LARGE / place.name if is_large else self.place(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            write_pack(packed(found.folders, files), temporary)
        (self.folder / (place if is_large else stub)).unlink(missing_ok=True)
        if is_large:
            where = f"{self._hub}/{place.name}" if self._hub else None
            stated = Stub(sha256=file_digest(path), bytes=path.stat().st_size, hub=where)
            write_stub(stated, self.place(stub))
            self._note(f"{path}: {size:,} bytes, too large to be published beside its entry")


class _OpenedOnce(Store):
    """Looks at each shelf once: many entries are held against it."""

    def __init__(self, root: Path, note: Note) -> None:
        super().__init__(root, note)
        self._opened: dict[ArtefactKind, list[tuple[dict[str, Any], Shelf]]] = {}

    @override
    def shelves(self, kind: ArtefactKind) -> Iterator[tuple[dict[str, Any], Shelf]]:
        if kind not in self._opened:
            self._opened[kind] = list(super().shelves(kind))
        yield from self._opened[kind]
