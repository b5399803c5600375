"""What of an edit acts on a search, or on images, and the key that names it.

Results are kept by what is computed and not by who asked: two mitigations of which the same acts
share what is searched and drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dorib.contracts.edit_files import RULE
from dorib.contracts.edits import Edit, SamplingRule, Several
from dorib.contracts.methods import Place
from dorib.contracts.triggers import Trigger
from dorib.host.configure import Configured
from dorib.host.registry import Registry
from dorib.host.rules import passed_by, places_of, rule_fingerprint
from dorib.store.fingerprint import digest
from dorib.verbs.context import RunContext, Subject
from dorib.verbs.mitigate import Mitigated

EVERYWHERE: frozenset[Place] = frozenset({"prompt", "embeddings", "noise", "attention", "guidance"})


@dataclass(frozen=True)
class Acting:
    """What of a mitigation acts at some places of a request."""

    key: str
    """What anything computed under it depends on: the model, and what changes it."""
    _mitigated: Mitigated
    _places: frozenset[Place]
    _registry: Registry

    @property
    def method(self) -> Configured:
        """The mitigation."""
        return self._mitigated.method

    def edit(self, subjects: Sequence[Subject]) -> tuple[Edit, list[int]]:
        """What acts for `subjects` (memorized samples), and its row for each of them."""
        whole, rows = self._mitigated.edit(subjects)
        changes = tuple(one for one in whole.changes if not self._is_idle(one))
        if len(changes) == len(whole.changes):
            return whole, rows
        change = Several(changes) if len(changes) > 1 else next(iter(changes), None)
        return Edit(change, whole.scope, whole.samples, whole.notes), rows

    def _is_idle(self, change: object) -> bool:
        return isinstance(change, SamplingRule) and _is_idle(change, self._places, self._registry)


def acting(context: RunContext, mitigated: Mitigated, places: frozenset[Place]) -> Acting:
    """What of `mitigated` acts at `places`: all but sampling rules that act at others alone.

    An edit for each sample has no rules, and is named by the mitigation that made it.
    """
    if mitigated.failure or mitigated.scope != "global":
        return Acting(mitigated.shelf.key, mitigated, places, context.registry)
    rules = iter(mitigated.outline.rules)
    parts: list[str] = []
    for kind in mitigated.outline.kinds:
        if kind != RULE:
            parts.append(kind)
        elif not _is_idle(rule := next(rules), places, context.registry):
            parts.append(rule_fingerprint(rule, context.registry))
    has_tensors = any(kind != RULE for kind in mitigated.outline.kinds)
    tensors = mitigated.tensors_digest if has_tensors else None
    return Acting(_key(context, parts, tensors), mitigated, places, context.registry)


def unchanged_key(context: RunContext) -> str:
    """The key where nothing acts at all."""
    return _key(context, [], None)


def _key(context: RunContext, parts: Sequence[str], tensors: str | None) -> str:
    return digest({"model": context.model_key, "changes": parts, "tensors": tensors})


def asked_places(triggers: Collection[Trigger]) -> frozenset[Place]:
    """The places that at least one of `triggers` comes by."""
    by = (EVERYWHERE - passed_by(trigger) for trigger in triggers)
    return frozenset[Place]().union(*by) if triggers else EVERYWHERE


def _is_idle(rule: SamplingRule, places: frozenset[Place], registry: Registry) -> bool:
    return not places_of([rule], registry) & places
