"""What a method tells of itself: asked for as the plugin's own call, and of the stated type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, get_args

from dorib.contracts.params import Scope
from dorib.host.admission import AdmissionError
from dorib.host.calls import before_work, of_plugin
from dorib.host.configure import Configured

T = TypeVar("T")


def stack_of(metric: Configured) -> dict[str, str | float | None]:
    """What a metric's values depend on, as entries state it.

    Raises:
        DoribError: the metric failed, or told something else.
    """
    with before_work(), of_plugin(metric):
        stack: object = metric.metric.stack()
        if not isinstance(stack, dict):
            raise AdmissionError(f"stack gave a {type(stack).__name__}; return a dict")
        for name, value in stack.items():
            if not isinstance(name, str) or not isinstance(value, str | int | float | None):
                raise AdmissionError(
                    f"stack gave {name!r} as a {type(value).__name__}; give texts, numbers or None"
                )
        return dict(stack)


def scope_of(mitigation: Configured) -> Scope:
    """Whether its edit is for all samples or for each.

    Raises:
        DoribError: the mitigation failed, or told something else.
    """
    with before_work(), of_plugin(mitigation):
        scope = mitigation.mitigation.scope
        if scope not in get_args(Scope):
            raise AdmissionError(f"scope is {scope!r}; use one of {', '.join(get_args(Scope))}")
        return scope


def planned_by(method: Configured, wanted: type[T], ask: Callable[[], object]) -> T | None:
    """What `ask`, a call of its `planned`, gives.

    Raises:
        PluginError: the method failed, or gave something else.
    """
    with of_plugin(method):
        planned = ask()
        if planned is None or isinstance(planned, wanted):
            return planned
        raise AdmissionError(
            f"planned gave a {type(planned).__name__}; return a {wanted.__name__} or None"
        )
