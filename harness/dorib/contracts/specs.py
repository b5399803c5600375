"""How a method is named: on the command line, in run files, and in another method's parameters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    SerializationInfo,
    WithJsonSchema,
    model_serializer,
)

from dorib.errors import DoribError
from dorib.printable import shortened
from dorib.reading import Malformed, parse_yaml
from dorib.validation import StrictModel

METHODS = "methods"
"""In the context of a serialization: a function that says how a method is written there."""


class MethodSpec(StrictModel):
    """A method by name, with the parameters that differ from its defaults."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> MethodSpec:
        """Read `name` or `name:parameter=value,parameter=value`; values are YAML scalars.

        Commas inside brackets separate nothing, so that a value may be a list, a mapping or, in
        round brackets, another method with several parameters of its own.

        Raises:
            DoribError: the text has another form.
        """
        inner = text.strip()
        if inner.startswith("(") and inner.endswith(")"):
            inner = inner[1:-1]
        name, colon, assignments = inner.partition(":")
        params: dict[str, Any] = {}
        if colon:
            for assignment in _split(assignments):
                parameter, equals, value = assignment.partition("=")
                if not equals or not parameter.strip():
                    raise DoribError(
                        f"{shortened(text)}: {shortened(assignment)} is not parameter=value; "
                        "write for example wanda:sparsity=0.02"
                    )
                parameter = parameter.strip()
                if parameter in params:
                    raise DoribError(
                        f"{shortened(text)}: {shortened(parameter)} stands twice; give it one value"
                    )
                params[parameter] = yaml_scalar(value, text)
        return cls(name=name.strip(), params=params)

    @model_serializer
    def _written(self, info: SerializationInfo) -> Any:
        write = info.context.get(METHODS) if info.context else None
        return write(self) if write else str(self)

    def __str__(self) -> str:
        """As `parse` reads it, the parameters sorted by name."""
        assignments = ",".join(f"{name}={_text(self.params[name])}" for name in sorted(self.params))
        return f"{self.name}:{assignments}" if assignments else self.name


def yaml_scalar(value: str, where: str) -> Any:
    """One value as YAML reads it: `0.02` a number, `true` a truth value, `prompt` a string.

    Raises:
        DoribError: it is no YAML, or beyond the bounds of what is read.
    """
    try:
        return parse_yaml(value)
    except Malformed as error:
        raise DoribError(
            f"{shortened(where)}: cannot read the value {shortened(value)}; quote it"
        ) from error


def spec_of(item: Any) -> MethodSpec:
    """The spec that a string, a mapping or a spec stands for.

    Raises:
        DoribError: a string has another form.
        ValueError: it is nothing of the kind.
    """
    if isinstance(item, MethodSpec):
        return item
    if isinstance(item, str):
        return MethodSpec.parse(item)
    if isinstance(item, dict) and isinstance(item.get("name"), str):
        return MethodSpec(name=item["name"], params={k: v for k, v in item.items() if k != "name"})
    raise ValueError("a method is 'name', 'name:parameter=value' or a mapping with a 'name'")


MethodChoice = Annotated[
    MethodSpec,
    BeforeValidator(spec_of),
    WithJsonSchema({"type": "string", "format": "method"}),
]
"""The type of a parameter that names another method: `wanda`, `wanda:sparsity=0.02` or, in a run
file, `{name: wanda, sparsity: 0.02}`."""


def _split(assignments: str) -> Iterator[str]:
    depth = start = 0
    for place, letter in enumerate(assignments):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            yield assignments[start:place]
            start = place + 1
    yield assignments[start:]


def _text(value: Any) -> str:
    if isinstance(value, MethodSpec):
        value = str(value)
    if isinstance(value, str):
        return f"({value})" if "," in value else value
    if value is None or isinstance(value, list | tuple | dict):
        return json.dumps(value)
    return str(value)
