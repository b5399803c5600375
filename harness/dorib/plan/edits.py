"""What is known of a mitigation's edit before it is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dorib.contracts.methods import NO_WORK, Place, PlannedFit, PlannedWork, Rule, Scale
from dorib.errors import DoribError
from dorib.host.calls import before_work
from dorib.host.configure import Configured
from dorib.host.registry import Registry
from dorib.host.told import planned_by
from dorib.store.batches import planned_batches
from dorib.verbs.acting import acting, unchanged_key
from dorib.verbs.context import RunContext, Subject
from dorib.verbs.mitigate import GLOBAL, Mitigated, stored

WORK_PER_GRADIENT = 3
"""What an item of a pass forward and backward counts."""


@dataclass(frozen=True)
class PlannedEdit:
    """An edit, stored or to come."""

    mitigated: Mitigated
    is_stored: bool
    work: PlannedWork | None
    """What is left to be fitted; None where the mitigation cannot say."""
    refused: str | None
    """Why the mitigation will refuse, where it says so beforehand."""
    _context: RunContext
    _scale: Scale
    _planned: PlannedFit | None
    _rules: tuple[str, ...] | None
    """The names of the rules that it is made of alone; None where it changes the model too."""

    @property
    def label(self) -> str:
        """The mitigation's."""
        return self.mitigated.method.label

    def key(self, places: frozenset[Place]) -> str:
        """What names the part that acts at `places`.

        That of an edit for all is its content: one that is still to be fitted is named otherwise,
        as nothing is stored.
        """
        if self.is_stored or self.mitigated.scope != "global":
            return acting(self._context, self.mitigated, places).key
        if self._rules is None:
            return f"to be fitted: {self.label}"
        acts = {name for name in self._rules if self._places(name) & places}
        return f"to be fitted: {self.label}" if acts else unchanged_key(self._context)

    def image_work(self, strength: float = 1.0) -> PlannedWork:
        """U-Net items of one image; `strength` where it starts from another image."""
        timesteps = self._scale.timesteps
        kept = max(1, int(timesteps * strength)) if strength < 1 else timesteps
        guided = self._scale.image > timesteps or any(
            "guidance" in self._places(name) for name in self._rules or ()
        )
        return PlannedWork(forward=kept * (2 if guided else 1))

    def rule_work(self, images: int) -> PlannedWork | None:
        """What the rules cost beside it; None where nobody can say."""
        if self._planned is None:
            return PlannedWork() if self._rules == () else None
        each = self._planned.rule_work
        return None if each is None else each * images

    def felt_work(self, search: PlannedWork, feels: frozenset[Place]) -> PlannedWork | None:
        """What they cost at most within a `search`; None where nobody can say.

        Each of its passes asks the model anew, but for one that samples whole images.
        """
        each = self.rule_work(1)
        felt = self._rules is None or any(self._places(rule) & feels for rule in self._rules)
        if each is None or not each.items or not felt:
            return each if felt else NO_WORK
        passes = search.forward + search.gradient // WORK_PER_GRADIENT
        asked = passes // self._scale.image if "noise" in feels else passes
        return (each * asked).at_most()

    def _places(self, rule: str) -> frozenset[Place]:
        return _places(rule, self._context.registry)


def planned_edit(
    context: RunContext, method: Configured, subjects: Sequence[Subject], scale: Scale
) -> PlannedEdit:
    """The edit of `method`, for each of `subjects` where it is per sample."""
    mitigated = stored(context, method)
    everyone = context.memorized_of_split
    wanted = {subject.tag for subject in subjects}
    if mitigated.scope == "global":
        groups = [] if GLOBAL in mitigated.shelf else [list(everyone)]
    else:
        groups = planned_batches(
            everyone,
            context.batch_size,
            lambda one: one.tag in wanted and one.tag not in mitigated.shelf,
        )
    refused: str | None = None
    fits: list[PlannedFit | None] = []
    try:
        with before_work():
            fits = [_fit(method, scale, len(group)) for group in groups]
            planned = _fit(method, scale, len(everyone))
    except DoribError as error:
        planned, refused = None, str(error)
    parts = [fit.work if fit else None for fit in fits]
    known = [part for part in parts if part is not None]
    work = None if len(known) < len(parts) else sum(known, PlannedWork())
    rules = planned.rules if planned else None
    if not groups:
        outline = mitigated.outline
        rules = None if outline.names else tuple(rule.name for rule in outline.rules)
    return PlannedEdit(mitigated, not groups, work, refused, context, scale, planned, rules)


def _fit(method: Configured, scale: Scale, memorized: int) -> PlannedFit | None:
    of_these = replace(scale, memorized=memorized)
    return planned_by(method, PlannedFit, lambda: method.mitigation.planned(of_these))


def _places(rule: str, registry: Registry) -> frozenset[Place]:
    loaded = registry.get("rule", rule).load()
    assert issubclass(loaded, Rule)
    places: frozenset[Place] = loaded.acts_on
    return places
