"""Where an entry's witnesses lie: told from the entry alone, so that no name is read from them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from dorib.host.configure import NONE, ORACLE
from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import entry_file
from dorib.store.fingerprint import method_slug

WITNESSES = "witnesses"

LARGE = "large-witnesses"
"""The folder, beside that of the witnesses, of those that are too large to be published there."""


def edit_place(entry: Entry) -> PurePosixPath:
    """The pack of a mitigation's edit, relative to its leaderboard's folder."""
    of = entry.mitigation
    name = method_slug(of.name, of.label, of.params)
    return PurePosixPath(WITNESSES, f"{name}.edit.safetensors")


def triggers_place(entry: Entry) -> PurePosixPath:
    """The pack of what the attack found."""
    return PurePosixPath(WITNESSES, f"{Path(entry_file(entry)).stem}.triggers.safetensors")


def values_place(entry: Entry) -> PurePosixPath:
    """The table of what was measured on each image."""
    return PurePosixPath(WITNESSES, f"{Path(entry_file(entry)).stem}.values.safetensors")


def utility_place(entry: Entry) -> PurePosixPath:
    """The table of what was measured on each utility prompt's image under the mitigation."""
    of = entry.mitigation
    name = method_slug(of.name, of.label, of.params)
    return PurePosixPath(WITNESSES, f"{name}.utility.safetensors")


def stub_place(place: PurePosixPath) -> PurePosixPath:
    """What stands in the place of a pack that is too large to lie beside its entry."""
    return place.with_suffix(".json")


def has_own_edit(entry: Entry) -> bool:
    """Whether its edit is published: that of a reference line comes with dorib or the suite."""
    return entry.mitigation.name not in (NONE, ORACLE) and bool(entry.digests.edit)


def has_own_triggers(entry: Entry) -> bool:
    """Whether its triggers are published: without an attack they are the suite's own captions."""
    return entry.attack.name != NONE and bool(entry.digests.edit)
