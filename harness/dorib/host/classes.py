"""What a plugin's class must declare, by its kind."""

from __future__ import annotations

import inspect
from typing import Any, get_args

from dorib.contracts.methods import (
    RESERVED_QUANTITIES,
    Attack,
    Direction,
    Knowledge,
    Level,
    Method,
    Metric,
    Mitigation,
    Need,
    Place,
    Probe,
    Quantity,
    Rule,
)
from dorib.contracts.registration import MethodKind
from dorib.host.registry import Registration
from dorib.host.signatures import flaw_of_signatures

BASES: dict[MethodKind, type[Method[Any]]] = {
    "mitigation": Mitigation,
    "attack": Attack,
    "metric": Metric,
    "rule": Rule,
    "probe": Probe,
}
METHOD_AT: dict[Place, str] = {
    "prompt": "rewrite",
    "embeddings": "embed",
    "noise": "start",
    "attention": "attending",
    "guidance": "guide",
}
"""By place, the method of a rule that acts there."""


def flaw_of(registration: Registration, loaded: object) -> str | None:
    """What is wrong with a registered class, in words that follow its name; None if nothing is."""
    base = BASES[registration.kind]  # type: ignore[index]
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        return f"is no {registration.kind}: it must be a subclass of {base.__name__}"
    if inspect.isabstract(loaded):
        lacking = ", ".join(sorted(loaded.__abstractmethods__))
        return f"does not implement {lacking}"
    return flaw_of_signatures(loaded, base) or _flaw_of_declared(registration, loaded)


def _flaw_of_declared(registration: Registration, loaded: type[Method[Any]]) -> str | None:
    conditioning = loaded.conditioning
    if not (isinstance(conditioning, frozenset | set) and all(map(_is_text, conditioning))):
        return "declares no `conditioning`: a set of names of embeddings"
    if issubclass(loaded, Attack | Probe):
        flaw = _outside("knows", getattr(loaded, "knows", None), get_args(Knowledge))
        if flaw is None and issubclass(loaded, Attack):
            flaw = _outside("feels", getattr(loaded, "feels", None), get_args(Place))
        return flaw
    if issubclass(loaded, Metric):
        return _flaw_of_metric(loaded, built_in=registration.built_in)
    if issubclass(loaded, Rule):
        return _flaw_of_rule(loaded)
    return None


def _flaw_of_metric(loaded: type[Metric[Any]], *, built_in: bool) -> str | None:
    flaw = _outside("needs", getattr(loaded, "needs", None), get_args(Need))
    if flaw:
        return flaw
    if not loaded.needs:
        return "needs nothing, and so is asked about nothing: name in `needs` what it judges"
    quantities = getattr(loaded, "quantities", None)
    if inspect.isdatadescriptor(quantities):
        # Those that its parameters decide are looked at once it is built.
        return None
    return flaw_of_quantities(loaded, quantities, built_in=built_in)


def flaw_of_quantities(
    loaded: type[Metric[Any]], quantities: object, *, built_in: bool
) -> str | None:
    """What is wrong with what a metric says that it reports; None if nothing is."""
    if not (
        isinstance(quantities, dict)
        and quantities
        and all(isinstance(q, Quantity) for q in quantities.values())
    ):
        return "declares no `quantities`: a mapping from names to Quantity"
    taken = sorted(RESERVED_QUANTITIES.intersection(quantities))
    if taken and not built_in:
        return f"reports {taken[0]}, which is a built-in metric's alone: choose another name"
    for name, quantity in quantities.items():
        flaw = _flaw_of_quantity(quantity)
        if not isinstance(name, str) or flaw:
            return f"declares the quantity {name!r} {flaw or 'under a name that is no text'}"
    of_cells = sorted(name for name, quantity in quantities.items() if quantity.level == "cell")
    if of_cells and loaded.measure_cell is Metric.measure_cell:
        return f"reports {of_cells[0]} for each cell and has no `measure_cell` of its own: write it"
    return None


def _flaw_of_quantity(quantity: Quantity) -> str | None:
    if not _is_text(quantity.unit):
        return f"with the unit {quantity.unit!r}: give text"
    for field, known in (("direction", get_args(Direction)), ("level", get_args(Level))):
        value = getattr(quantity, field)
        if value not in known:
            return f"with the {field} {value!r}, which is none of {', '.join(map(repr, known))}"
    return None if isinstance(quantity.in_table, bool) else "with an `in_table` that is no bool"


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _flaw_of_rule(loaded: type[Rule[Any]]) -> str | None:
    flaw = _outside("acts_on", getattr(loaded, "acts_on", None), get_args(Place))
    if flaw:
        return flaw
    if not isinstance(getattr(loaded, "passes_gradients", None), bool):
        return "does not say whether it `passes_gradients`"
    for place, method in METHOD_AT.items():
        own = getattr(loaded, method) is not getattr(Rule, method)
        if own and place not in loaded.acts_on:
            return f"has a `{method}` of its own and does not act on {place!r}: add it to `acts_on`"
        if not own and place in loaded.acts_on:
            return f"acts on {place!r} and has no `{method}` of its own: write it"
    return None if loaded.acts_on else "acts nowhere: name its places in `acts_on`"


def _outside(name: str, declared: object, known: tuple[str, ...]) -> str | None:
    if not isinstance(declared, frozenset | set):
        return f"declares no `{name}`: a set of {', '.join(map(repr, known))}"
    strange = sorted(map(str, set(declared) - set(known)))
    if strange:
        return f"declares {name} {strange[0]!r}, which is none of {', '.join(map(repr, known))}"
    return None
