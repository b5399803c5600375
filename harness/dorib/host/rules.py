"""From the sampling rule that an edit names to its code, and what it means for an attack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dorib.contracts.methods import Attack, Rule
from dorib.contracts.specs import MethodSpec
from dorib.host.configure import Configured, configure

if TYPE_CHECKING:
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


def obstacle(change: SamplingRule, registry: Registry, attack: Attack[Any]) -> str | None:
    """Why `attack` cannot be run at all while the rule is in force, where it cannot."""
    if "gradients" in attack.knows and not rule_behind(change, registry).passes_gradients:
        return f"the attack needs gradients, and the sampling rule {change.name} passes none"
    return None


def bypassed(change: SamplingRule, registry: Registry, trigger: Trigger) -> bool:
    """Whether `trigger` is handed in behind the place where the rule acts."""
    return rule_behind(change, registry).acts_on == "prompt" and trigger.prompt is None
