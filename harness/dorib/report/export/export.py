"""Exports: a folder for others, with a README, of one edit of a run or of an attack's triggers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dorib.contracts.triggers import save_trigger
from dorib.errors import DoribError
from dorib.host.registry import discover
from dorib.report.export.readme import edit_readme, trigger_readme
from dorib.report.export.stored import StoredEdit, find_edit, find_triggers
from dorib.report.export.weights import Form, form_for, write_edit
from dorib.store.files import named_write_errors, whole_folder
from dorib.store.fingerprint import file_digest, files_below, method_slug
from dorib.store.store import Note
from dorib.suites.suite import load_suite
from dorib.target.model import DiffusersModel
from dorib.validation import checked
from dorib.verbs.preparation.suite_model import load_target_model, pipeline_version, usable_device
from dorib.verbs.settings import Settings

README = "README.md"
EXPORTS = "exports"
"""The folder in a run's in which exports lie, unless another place is named."""


def export_edit(
    out: Path,
    mitigation: str,
    note: Note,
    *,
    form: Form | None = None,
    to: Path | None = None,
    suite: str | None = None,
) -> Path:
    """Write the edit of a mitigation as weights that other programs load.

    Args:
        out: the folder of a finished run.
        mitigation: the mitigation's label there.
        note: hears of what is damaged in the run's store.
        form: None: a LoRA where the edit is one, plain safetensors where there is one for each
            sample, else a whole pipeline.
        to: a folder that is not there yet (None: one in `out`).
        suite: a name or a folder, where the suite is not registered by the name it has.

    Returns:
        The folder.

    Raises:
        DoribError: there is no such edit or it is no weights, it cannot have that form, the
            suite's pipeline is another one, or the folder is there already or cannot be written.
    """
    _refuse_existing(to)
    stored = find_edit(out, mitigation, note)
    entry, parts = stored.entry, stored.parts
    what = f"mitigation {entry.mitigation.label}"
    form = form_for(next(iter(parts.values())), form, what)
    slug = method_slug(entry.mitigation.name, entry.mitigation.label, entry.mitigation.params)
    to = to or out / EXPORTS / f"{slug}.{form}"
    _refuse_existing(to)
    model = _model(stored, suite)
    with named_write_errors(to, "--to"), whole_folder(to) as folder:
        for name, edit in parts.items():
            place = folder
            if entry.scope == "per_sample":
                place = folder / name
                place.mkdir()
            write_edit(edit, form, model, place)
        (folder / README).write_text(edit_readme(stored, form, _digests(folder)), encoding="utf-8")
    return to


def export_triggers(
    out: Path, mitigation: str, attack: str, note: Note, *, to: Path | None = None
) -> Path:
    """Write what an attack found under a mitigation, a folder for each sample and budget.

    Raises:
        DoribError: there are no such triggers, or the folder is there already or cannot be written.
    """
    _refuse_existing(to)
    stored = find_triggers(out, mitigation, attack, note)
    methods = (stored.entry.mitigation, stored.entry.attack)
    slugs = [method_slug(one.name, one.label, one.params) for one in methods]
    to = to or out / EXPORTS / f"{'.'.join(slugs)}.triggers"
    _refuse_existing(to)
    with named_write_errors(to, "--to"), whole_folder(to) as folder:
        for name, trigger in stored.triggers.items():
            (folder / name).mkdir()
            save_trigger(trigger, folder / name)
        (folder / README).write_text(trigger_readme(stored, _digests(folder)), encoding="utf-8")
    return to


def _refuse_existing(to: Path | None) -> None:
    if to is not None and os.path.lexists(to):
        raise DoribError(f"{to}: is there already; name another folder by --to, or remove it")


def _model(stored: StoredEdit, given: str | None) -> DiffusersModel:
    """The model that the edit was fitted to, in its number format, on the CPU.

    Raises:
        DoribError: the suite is not there, or its pipeline is another one.
    """
    registry = discover()
    reference = given or stored.entry.suite.name
    if given is None and ("suite", reference) not in registry.registrations:
        raise DoribError(
            f"suite {reference}: is none of the registered ones; give the run's by --suite"
        )
    suite = load_suite(reference, registry)
    key: dict[str, Any] = stored.model
    version = pipeline_version(suite)
    if (version or suite.manifest.pipeline) != key["pipeline"]:
        raise DoribError(
            f"suite {reference}: its pipeline is not the one that the run was made on; give the "
            "suite of that run by --suite"
        )
    options = {"device": "cpu", "dtype": key["dtype"]}
    settings = checked(Settings, options, "run", names="options")
    return load_target_model(suite, settings, usable_device(settings), registry, version)


def _digests(folder: Path) -> dict[str, str]:
    """sha256 of each file, by its place."""
    return {name: file_digest(folder / name) for name in files_below(folder)}
