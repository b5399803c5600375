"""In what two cells differ besides what came out: versions, device, stack and settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dorib.ranking.entries import Entry
from dorib.ranking.entry_fields import MethodFacts
from dorib.ranking.rates import Facts

OF_A_CELL = (
    "required_attacks",
    "samples",
    "scope",
    "knows",
    "bypass",
    "adaptive",
    "smallest_batch",
)


class Difference(Facts):
    """One field of two entries that is not the same."""

    field: str
    """Its dotted path; `.code` is a method's fingerprint, `digests.model` that of the target model
    with its pipeline, sampling, number format, device type, versions and root seed."""
    first: Any
    """None where the first has no such field, as in `second`."""
    second: Any


def differences(first: Entry, second: Entry) -> tuple[Difference, ...]:
    """All of them, in the order of the entries' fields.

    Methods of other names have other parameters, which are not listed.
    """
    one, other = dict(_facts(first)), dict(_facts(second))
    found = []
    for kind in ("mitigation", "attack"):
        if getattr(first, kind).name != getattr(second, kind).name:
            for facts in (one, other):
                _drop(facts, f"{kind}.", keep=f"{kind}.label")
    for name in dict.fromkeys([*one, *other]):
        if one.get(name) != other.get(name):
            found.append(Difference(field=name, first=one.get(name), second=other.get(name)))
    return tuple(found)


def _facts(entry: Entry) -> Iterator[tuple[str, Any]]:
    content = entry.model_dump(mode="json")
    for kind in ("mitigation", "attack"):
        yield from _of_method(kind, getattr(entry, kind))
    for name in OF_A_CELL:
        yield from _flat(name, content[name])
    yield "digests.model", entry.digests.model
    yield from _flat("environment", content["environment"])
    yield from _flat("stack", content["stack"])


def _of_method(kind: str, method: MethodFacts) -> Iterator[tuple[str, Any]]:
    yield f"{kind}.label", method.label
    yield from _flat(f"{kind}.params", method.params)
    yield f"{kind}.plugin", method.plugin
    yield f"{kind}.code", method.fingerprint


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    else:
        yield name, value


def _drop(facts: dict[str, Any], prefix: str, *, keep: str) -> None:
    for name in [name for name in facts if name.startswith(prefix) and name != keep]:
        del facts[name]
