"""From the sampling rule that an edit names to its code, and what it means for an attack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dorib.contracts.methods import Attack, Place, Rule
from dorib.contracts.specs import MethodSpec
from dorib.host.configure import Configured, configure

if TYPE_CHECKING:
    from dorib.contracts.edit_files import Outline
    from dorib.contracts.edits import SamplingRule
    from dorib.contracts.triggers import Trigger
    from dorib.host.registry import Registry


def rule_behind(change: SamplingRule, registry: Registry) -> Rule[Any]:
    """The rule that `change` names, with its parameters.

    Raises:
        DoribError: no rule of that name is registered, or its parameters are wrong.
    """
    rule = _configured(change, registry).method
    assert isinstance(rule, Rule)
    return rule


def rule_fingerprint(change: SamplingRule, registry: Registry) -> str:
    """Digest of the rule that `change` names: its parameters, and all that it computes with.

    Raises:
        DoribError: no rule of that name is registered, or its parameters are wrong.
    """
    return _configured(change, registry).fingerprint


def _configured(change: SamplingRule, registry: Registry) -> Configured:
    spec = MethodSpec(name=change.name, params=dict(change.params))
    return configure(registry, "rule", spec)


def places_of(rules: Sequence[SamplingRule], registry: Registry) -> frozenset[Place]:
    """Where the rules act, all of them together."""
    places = (rule_behind(rule, registry).acts_on for rule in rules)
    return frozenset[Place]().union(*places)


def passed_by(trigger: Trigger) -> frozenset[Place]:
    """The places that `trigger` is handed in behind: all but words pass the prompt's by."""
    asked_in_words = trigger.prompt is not None and trigger.encodes_back
    return frozenset() if asked_in_words else frozenset({"prompt"})


def is_bypassed(outline: Outline, registry: Registry, trigger: Trigger) -> bool:
    """Whether all that an edit does is done before `trigger` is handed in."""
    if not (outline.rules or outline.names):
        return False
    in_encoders = all(name.startswith("text_encoder") for name in outline.names)
    if outline.names and not (in_encoders and trigger.embeddings):
        return False
    return places_of(outline.rules, registry) <= passed_by(trigger)


def is_adaptive(
    rules: Sequence[SamplingRule], registry: Registry, attack: Attack[Any], trigger: Trigger
) -> bool | None:
    """Whether the search of `attack` was led by all that acts on `trigger`.

    None where no rule does, or nothing was searched.
    """
    felt = True
    acting = False
    for rule in (rule_behind(one, registry) for one in rules):
        places = rule.acts_on - passed_by(trigger)
        acting = acting or bool(places)
        blind = "gradients" in attack.knows and not rule.passes_gradients
        felt = felt and places <= attack.feels and not (places and blind)
    return felt if acting and attack.searches else None
