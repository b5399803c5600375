"""How a method is written: as a label, and as values, those methods included that it names."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

from dorib.contracts.params import NAMES_ONLY, Params
from dorib.contracts.registration import MethodKind
from dorib.contracts.specs import METHODS, MethodSpec
from dorib.errors import DoribError
from dorib.host.registry import Registry
from dorib.validation import checked

Find: TypeAlias = Callable[[MethodSpec], "Spelling | None"]
"""Looks up a method that parameters name."""


@dataclass(frozen=True)
class Spelling:
    """A method's parameters, and which of them stand in its label."""

    name: str
    params: Params
    typed: frozenset[str]
    """The parameters that were given, and are not the default."""
    find: Find

    @classmethod
    def of(cls, spec: MethodSpec, params: Params, find: Find) -> Spelling:
        """That of `params`, which were read from `spec`."""
        defaults = type(params).model_fields
        typed = (
            name
            for name in spec.params
            if getattr(params, name) != defaults[name].get_default(call_default_factory=True)
        )
        return cls(spec.name, params, frozenset(typed), find)

    @property
    def label(self) -> str:
        """The name, with the parameters that differ from the defaults; of a file its name."""
        shown = self.params.model_dump(
            mode="json", context={NAMES_ONLY: True, METHODS: self._label_of}
        )
        return str(MethodSpec(name=self.name, params=self._chosen(shown)))

    def values(self) -> dict[str, Any]:
        """All parameters, defaults included, as JSON values; of a file its name and sha256.

        A method that they name is written as its label; where that shows a file, as its name and
        those of its parameters that stand in the label.

        Raises:
            PydanticSerializationError: a file that they name cannot be read.
        """
        return self.params.model_dump(mode="json", context={METHODS: self._values_of})

    def _label_of(self, spec: MethodSpec) -> str:
        found = self.find(spec)
        return found.label if found else str(spec)

    def _values_of(self, spec: MethodSpec) -> Any:
        found = self.find(spec)
        if found is None:
            return str(spec)
        params = found._chosen(found.values())
        plain = str(MethodSpec(name=found.name, params=params))
        return plain if plain == found.label else {"name": found.name, "params": params}

    def _chosen(self, values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name in self.typed}


def unbuilt(registry: Registry, spec: MethodSpec) -> Spelling | None:
    """The spelling of a method that is named and not built on, so that its kind is not known.

    None where no kind has such a method.
    """
    for kind in get_args(MethodKind):
        registration = registry.registrations.get((kind, spec.name))
        if registration is not None:
            with suppress(DoribError):
                params = checked(registration.params, spec.params, spec.name, names="parameters")
                return Spelling.of(spec, params, lambda inner: unbuilt(registry, inner))
    return None
