"""Every pick of every mitigation, counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dorib import Configured, Edit, MaskWeights, Session
from dorib_locality.agreement import MethodTable
from dorib_locality.gather import FoundTrigger
from dorib_locality.overlap import picks_of, tabulate
from dorib_locality.picking import fit_prompts, fit_triggers
from dorib_locality.prepare import Study


def pick_tables(
    this: Study, found: Sequence[FoundTrigger]
) -> tuple[list[MethodTable], dict[str, str]]:
    """A table for each mitigation that picked anything, and what failed."""
    tables: list[MethodTable] = []
    failures: dict[str, str] = {}
    subjects = list(dict.fromkeys(trigger.subject for trigger in found))
    for method in this.mitigations:
        usual = fit_triggers(this.session, method, found, "usual")
        other = fit_triggers(this.session, method, found, "other")
        prompts = fit_prompts(this.session, method, subjects)
        edits = [*usual.edits, *other.edits, *prompts.edits]
        failures |= usual.failures | other.failures | prompts.failures
        made = [edit for edit in edits if edit is not None]
        if not made:
            continue
        names = [subject.id for subject in subjects]
        tables.append(_table(this.session, method, edits, made, len(found), names))
    return tables, failures


def _table(
    session: Session,
    method: Configured,
    edits: Sequence[Edit | None],
    made: Sequence[Edit],
    triggers: int,
    prompts: Sequence[str],
) -> MethodTable:
    picks = [{} if edit is None else picks_of(edit) for edit in edits]
    masks = isinstance(made[0].change, MaskWeights)
    layers = list(dict.fromkeys(layer for pick in picks for layer in pick))
    linear = {name: session.model.linear_layer(name) for name in layers}
    populations = {
        name: layer.weight.numel() if masks else layer.out_features
        for name, layer in linear.items()
    }
    return MethodTable(
        mitigation=method.label,
        unit="weights" if masks else "neurons",
        picks=picks,
        populations=populations,
        table=tabulate(picks, populations),
        there=np.array([edit is not None for edit in edits]),
        triggers=triggers,
        prompts={sample: 2 * triggers + i for i, sample in enumerate(prompts)},
    )
