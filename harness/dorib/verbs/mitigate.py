"""mitigate: Suite -> Edit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from dorib.contracts.edit_files import TENSORS, Outline, load_edit, load_outline, save_edit
from dorib.contracts.edits import Edit, ReplaceWeights, SingleChange, merge_edits, single_edits
from dorib.contracts.ledger import Ledger
from dorib.contracts.methods import PlannedFit
from dorib.contracts.params import Scope
from dorib.contracts.views import DefenderView
from dorib.errors import DoribError
from dorib.host.admission import AdmissionError, admit_edit
from dorib.host.calls import PluginError, of_plugin
from dorib.host.configure import ORACLE, Configured
from dorib.host.told import planned_by, scope_of
from dorib.store.batches import in_turn, planned_batches
from dorib.store.code import closure_digest
from dorib.store.fingerprint import digest, model_digest
from dorib.store.store import Shelf
from dorib.suites.suite import Suite
from dorib.target.loading import load_unet_weights
from dorib.verbs.context import RunContext, Subject
from dorib.verbs.guarding import guarded, tell_stray

GLOBAL = "global"
FIT = "fit.json"
"""In an edit's folder: the work of its fit, in U-Net items."""


@dataclass(frozen=True)
class Mitigated:
    """A mitigation fitted to a suite's model."""

    method: Configured
    scope: Scope
    shelf: Shelf
    failure: str | None = None
    """The error that came in place of the edit."""

    def edit(self, subjects: Sequence[Subject]) -> tuple[Edit, list[int]]:
        """The edit that acts for `subjects` (memorized samples), and its row for each of them."""
        if self.scope == "global":
            return load_edit(self._folder(GLOBAL)), [0] * len(subjects)
        distinct = list(dict.fromkeys(subjects))
        edit = merge_edits([load_edit(self._folder(subject.tag)) for subject in distinct])
        return edit, [distinct.index(subject) for subject in subjects]

    @cached_property
    def outline(self) -> Outline:
        """What a global edit is made of; nothing where there is none, or it is per sample."""
        if self.failure or self.scope != "global":
            return Outline()
        return load_outline(self._folder(GLOBAL))

    def work(self, subjects: Sequence[Subject]) -> int:
        """What fitting cost for `subjects`, in U-Net items."""
        if self.failure:
            return 0
        items = [GLOBAL] if self.scope == "global" else list({s.tag: None for s in subjects})
        files = [self._folder(item) / FIT for item in items]
        work: int = round(sum(json.loads(file.read_text())["work"] for file in files))
        return work

    def digest(self, subjects: Sequence[Subject]) -> str:
        """Digest of the edit's content; empty where there is none."""
        if self.failure:
            return ""
        items = [GLOBAL] if self.scope == "global" else sorted({s.tag for s in subjects})
        return digest([self.shelf.digest(item) for item in items])

    @property
    def tensors_digest(self) -> str:
        """sha256 of the tensors of a global edit that changes anything."""
        return self.shelf.files(GLOBAL)[f"{GLOBAL}/{TENSORS}"]

    def _folder(self, item: str) -> Path:
        return self.shelf[item] / item


def stored(context: RunContext, method: Configured) -> Mitigated:
    """`method` with what of it lies in the store, fitted or not."""
    shelf = context.store.shelf("edits", _key(context, method))
    return Mitigated(method, scope_of(method), shelf)


def mitigate(context: RunContext, method: Configured, subjects: Sequence[Subject]) -> Mitigated:
    """Fit `method`, or find it fitted.

    A global edit is fitted to all memorized samples of the split, whatever the run's limits; a
    per-sample one to each of `subjects`, in batches. An exception in the plugin becomes the
    mitigation's failure.
    """
    mitigated = stored(context, method)
    scope, shelf = mitigated.scope, mitigated.shelf
    everyone = {subject.tag: subject for subject in context.memorized_of_split}
    if scope == "global":
        planned = planned_batches([GLOBAL], 1, lambda item: item not in shelf)
    else:
        wanted = {subject.tag for subject in subjects}
        planned = planned_batches(
            list(everyone), context.batch_size, lambda item: item in wanted and item not in shelf
        )
    for claim, items in in_turn(shelf, planned, str, lambda item: item not in shelf):
        group = list(everyone.values()) if scope == "global" else [everyone[i] for i in items]
        try:
            with claim, shelf.scratch(items) as scratch:
                _fit(context, mitigated, group, scratch)
        except PluginError as error:
            context.reporter.failure(str(error), error)
            return replace(mitigated, failure=str(error))
    return mitigated


def _fit(
    context: RunContext, mitigated: Mitigated, group: Sequence[Subject], scratch: Path
) -> None:
    method = mitigated.method
    model = context.model
    view = DefenderView(
        context.targets(group),
        context.suite.general_captions,
        _oracle(context, method),
        scratch,
        general_pairs=context.general_pairs,
    )
    seeds = context.seeds.child("fit", method.name).sealed()
    total = _expected_items(context, method, len(group))
    with context.reporter.verb("mitigate", method.label, total) as advance:
        ledger = Ledger(on_work=advance)
        # This very ledger: a fit that goes on from a checkpoint sets it to the work before.
        with guarded(context, method), model.counting(ledger):
            handed = method.mitigation.fit(model, view, seeds, ledger)
        with of_plugin(method):
            samples = [target.sample for target in view.memorized]
            edit = admit_edit(handed, context.model, mitigated.scope, samples)
            refuse_oracle(context, method, edit)
    if edit.changes and not any(map(_touches, edit.changes)):
        context.reporter.note(f"{method.title}: no layer and no weight is in its edit")
    tell_stray(context, method, ledger)
    if mitigated.scope == "global":
        parts = {GLOBAL: edit}
        work = {GLOBAL: float(ledger.work)}
    else:
        by_id = {subject.id: subject.tag for subject in group}
        parts = {by_id[sample]: part for sample, part in single_edits(edit).items()}
        own = [ledger.work_of(index) for index in range(len(group))]
        # What serves all samples alike (a baseline, say) is shared out among them.
        shared = (ledger.work - sum(own)) / len(group)
        work = {subject.tag: own[index] + shared for index, subject in enumerate(group)}
    with mitigated.shelf.batch(list(parts)) as folder:
        for item, part in parts.items():
            (folder / item).mkdir()
            save_edit(part, folder / item)
            (folder / item / FIT).write_text(json.dumps({"work": work[item]}) + "\n")


def _touches(change: SingleChange) -> bool:
    """Whether any layer, weight or rule is named in it."""
    return any(getattr(change, field.name) for field in fields(change))


def _expected_items(context: RunContext, method: Configured, memorized: int) -> int:
    """U-Net items of a fit, where the mitigation says just how many; else 0."""
    timesteps = len(context.model.sampling_timesteps())
    scale = replace(context.scale, timesteps=timesteps, memorized=memorized)
    try:
        planned = planned_by(method, PlannedFit, lambda: method.mitigation.planned(scale))
    except PluginError as error:
        # What it refuses it refuses again when it is fitted.
        if not isinstance(error.__cause__, DoribError):
            context.reporter.note(f"{error}; its progress is shown without an end")
        return 0
    work = planned.work if planned else None
    return work.items if work and work.exact else 0


def _key(context: RunContext, method: Configured) -> dict[str, object]:
    memorized = [subject.tag for subject in context.memorized_of_split]
    oracle = _oracle(context, method)
    return {
        "code": closure_digest(__name__),
        "model": context.model_key,
        "mitigation": method.fingerprint,
        "memorized": memorized,
        "general": context.general_digest,
        "oracle": model_digest(oracle) if oracle else None,
    }


def _oracle(context: RunContext, method: Configured) -> Path | None:
    """The oracle's weights, for the reference mitigation that stands for it and for no defender."""
    if method.name != ORACLE or not method.registration.built_in:
        return None
    return _oracle_of(context.suite)


def _oracle_of(suite: Suite) -> Path | None:
    reference = suite.manifest.oracle
    return Path(suite.component(reference)) if reference else None


def refuse_oracle(context: RunContext, method: Configured, edit: Edit) -> None:
    """Refuse an edit that is the oracle itself: no defender has a model trained without."""
    folder = _oracle_of(context.suite)
    if folder is None or _oracle(context, method):
        return
    changed: dict[str, Tensor] = {}
    for change in edit.changes:
        if isinstance(change, ReplaceWeights):
            changed |= {name.removeprefix("unet."): v for name, v in change.weights.items()}
    if not changed:
        return
    oracle, own = load_unet_weights(folder), context.model.weights()
    # An edit may hold only what differs from the pipeline.
    if changed.keys() <= oracle.keys() and all(
        torch.equal(
            changed.get(name, own[name]).to("cpu", own[name].dtype), value.to(own[name].dtype)
        )
        for name, value in oracle.items()
    ):
        raise AdmissionError(
            "fit returned the weights of the suite's oracle, which no defender has; fit the "
            "edit to the model"
        )
