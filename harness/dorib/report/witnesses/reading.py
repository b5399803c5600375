"""Reading an entry's witnesses: each is seen to be the one that the entry's digests state."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from dorib.errors import DoribError
from dorib.ranking.entries import Entry
from dorib.report.witnesses.places import LARGE, edit_place, stub_place, triggers_place
from dorib.report.witnesses.stubs import read_stub
from dorib.store.fingerprint import digest, file_digest
from dorib.store.packs import Pack, read_pack


class WitnessElsewhereError(DoribError):
    """A witness that is too large to be published beside its entry, and is not at hand."""


def read_edit_witness(folder: Path, entry: Entry, large: Path | None = None) -> Pack:
    """The edit that an entry was made under.

    Args:
        folder: of the leaderboard.
        entry: one of its entries.
        large: where those lie that are too large to be published beside it, before the
            leaderboard's own `large-witnesses`, where `write_witnesses` puts them.

    Raises:
        WitnessElsewhereError: it lies elsewhere.
        DoribError: it is missing, damaged, or another one.
    """
    path = _found(folder, edit_place(entry), large)
    pack = read_pack(path)
    if digest([pack.digest(item) for item in pack.items]) != entry.digests.edit:
        raise DoribError(
            f"{path}: is not the edit of {entry.mitigation.label}, whose digest its entry states"
        )
    return pack


def read_triggers_witness(folder: Path, entry: Entry, large: Path | None = None) -> Pack:
    """The triggers that an entry was made from.

    Raises:
        WitnessElsewhereError: they lie elsewhere.
        DoribError: they are missing, damaged, or others.
    """
    path = _found(folder, triggers_place(entry), large)
    pack = read_pack(path)
    if digest({item: pack.digest(item) for item in pack.items}) != entry.digests.triggers:
        raise DoribError(
            f"{path}: are not the triggers of {entry.mitigation.label} x {entry.attack.label}, "
            "whose digest the entry states"
        )
    return pack


def _found(folder: Path, place: PurePosixPath, large: Path | None) -> Path:
    path, stub_path = folder / place, folder / stub_place(place)
    if path.exists() or not stub_path.exists():
        return path
    stub = read_stub(stub_path)
    places = [of / place.name for of in (large, folder / LARGE) if of is not None]
    there = next((path for path in places if path.is_file()), None)
    if there is None:
        where = f"huggingface.co/{stub.hub}" if stub.hub else "where the row's author has it"
        raise WitnessElsewhereError(
            f"{stub_path}: the witness itself is not here; put {place.name} from {where} into "
            f"{folder / LARGE}, or into another folder that --large names"
        )
    if file_digest(there) != stub.sha256:
        raise DoribError(f"{there}: is not the file whose sha256 {stub_path} states")
    return there
