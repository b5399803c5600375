"""Edits and triggers of a run, found in its store by the digests that its entries state."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dorib.contracts.edit_files import load_edit
from dorib.contracts.edits import Edit
from dorib.contracts.seeds import Seeds
from dorib.contracts.triggers import Trigger, load_trigger
from dorib.errors import DoribError
from dorib.ranking.entries import Entry
from dorib.report.opened import Results, known_label, open_results
from dorib.store.fingerprint import digest
from dorib.store.store import Note, Shelf, Store
from dorib.verbs.context import assigned
from dorib.verbs.mitigate import GLOBAL

_TAG = re.compile(r"(?P<sample>.+)-[0-9a-f]{12}")
_TRIGGER = re.compile(r"(?P<tag>.+)\.b(?P<budget>\d+)")


@dataclass(frozen=True)
class StoredEdit:
    """An edit as a run has stored it."""

    entry: Entry
    """One of those that were made under it."""
    model: dict[str, Any]
    """What the model depended on that it was fitted to."""
    parts: dict[str, Edit]
    """By sample; a global edit by the name `global` alone."""


@dataclass(frozen=True)
class StoredTriggers:
    """What an attack has found in a run."""

    entry: Entry
    triggers: dict[str, Trigger]
    """By sample and budget, as their folders are to be called."""


@dataclass(frozen=True)
class Located:
    """Where artefacts of a run lie, as an entry's digests state them."""

    key: dict[str, Any]
    """Of the shelf."""
    shelf: Shelf
    folders: dict[str, Path]
    """By item, the batch folder that its own folder lies in."""


def find_edit(out: Path, mitigation: str, note: Note) -> StoredEdit:
    """The edit of a mitigation, by its label.

    Args:
        out: the folder of a finished run.
        mitigation: a label, as the run's table shows it.
        note: hears of what is damaged in the store.

    Raises:
        DoribError: there is no such run or label, the mitigation failed, or the store no longer
            holds what the entries were made from.
    """
    results = open_results(out)
    entry = _of_mitigation(results, mitigation)[0]
    found = locate_edit(results, entry, Store(out / "store", note))
    parts = {_sample(item): load_edit(folder / item) for item, folder in found.folders.items()}
    return StoredEdit(entry, found.key["model"], parts)


def locate_edit(results: Results, entry: Entry, store: Store) -> Located:
    """Where the edit lies that an entry was made under.

    Raises:
        DoribError: the mitigation failed, or the store no longer holds what the entry states.
    """
    out = results.folder
    if not entry.digests.edit:
        raise DoribError(
            f"{out}: {entry.mitigation.label} failed in that run, so there is no edit; mend what "
            "its records say and run again"
        )
    for key, shelf in store.shelves("edits"):
        if key.get("mitigation") != entry.mitigation.fingerprint:
            continue
        if digest(key.get("model")) != entry.digests.model:
            continue
        items = [GLOBAL] if entry.scope == "global" else _items(results, key)
        if shelf.missing(items):
            continue
        if digest([shelf.digest(item) for item in items]) == entry.digests.edit:
            return Located(key, shelf, {item: shelf[item] for item in items})
    raise _gone(out, f"the edit of {entry.mitigation.label}")


def find_triggers(out: Path, mitigation: str, attack: str, note: Note) -> StoredTriggers:
    """What an attack found under a mitigation, by their labels.

    Raises:
        DoribError: as `find_edit`; or there are none, since the attack failed.
    """
    results = open_results(out)
    entries = {entry.attack.label: entry for entry in _of_mitigation(results, mitigation)}
    entry = entries[known_label(attack, list(entries), f"{out}: no attack")]
    found = locate_triggers(results, entry, Store(out / "store", note))
    named = [load_trigger(folder / item) for item, folder in found.folders.items()]
    return StoredTriggers(entry, {f"{one.sample}.b{one.budget}": one for one in named})


def locate_triggers(results: Results, entry: Entry, store: Store) -> Located:
    """Where the triggers lie that an entry was made from.

    Raises:
        DoribError: the store no longer holds what the entry states.
    """
    budgets = {point.budget for point in entry.curve}
    samples = results.samples

    def is_of_run(item: str) -> bool:
        found = _TRIGGER.fullmatch(item)
        return bool(found and _sample(found["tag"]) in samples and int(found["budget"]) in budgets)

    for key, shelf, items in _of_attack(store, entry, is_of_run):
        if digest({item: shelf.digest(item) for item in items}) == entry.digests.triggers:
            return Located(key, shelf, {item: shelf[item] for item in items})
    raise _gone(results.folder, f"what {entry.attack.label} found under {entry.mitigation.label}")


def _of_attack(
    store: Store, entry: Entry, is_of_run: Callable[[str], bool]
) -> Iterator[tuple[dict[str, Any], Shelf, list[str]]]:
    for key, shelf in store.shelves("triggers"):
        items = sorted(filter(is_of_run, shelf.items))
        if key.get("attack") == entry.attack.fingerprint and items:
            yield key, shelf, items


def _of_mitigation(results: Results, label: str) -> list[Entry]:
    by_label: dict[str, list[Entry]] = {}
    for entry in results.entries:
        by_label.setdefault(entry.mitigation.label, []).append(entry)
    return by_label[known_label(label, list(by_label), f"{results.folder}: no mitigation")]


def _items(results: Results, key: dict[str, Any]) -> list[str]:
    """Of a per-sample mitigation: those of the memorized samples that stood behind the run."""
    by_sample = {_sample(tag): tag for tag in key["memorized"]}
    tags = list(by_sample.values())
    seeds = Seeds(key["model"]["root_seed"])
    found = set()
    for record in results.records():
        if record.sample is None:
            continue
        if record.role == "memorized":
            # One without an original is in no edit.
            found.update({by_sample.get(record.sample)} - {None})
        else:
            found.add(tags[assigned(seeds, record.sample, len(tags))])
    return sorted(tag for tag in found if tag is not None)


def _sample(tag: str) -> str:
    found = _TAG.fullmatch(tag)
    return found["sample"] if found else tag


def _gone(out: Path, what: str) -> DoribError:
    return DoribError(
        f"{out}: {what} is not in its store as the entries state it; run the same again with this "
        "--out, and export then"
    )
