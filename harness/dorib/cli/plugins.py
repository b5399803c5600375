"""`dorib plugins` and `dorib params`: what is installed, and what it can be told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dorib.cli.options import PLUGIN

if TYPE_CHECKING:
    from dorib.host.registry import Registration, Registry


class MethodKind(StrEnum):
    """The kinds of plugin that have parameters."""

    MITIGATION = "mitigation"
    ATTACK = "attack"
    METRIC = "metric"
    RULE = "rule"
    PROBE = "probe"


class Kind(StrEnum):
    """All that can be registered."""

    MITIGATION = "mitigation"
    ATTACK = "attack"
    METRIC = "metric"
    RULE = "rule"
    PROBE = "probe"
    SUITE = "suite"
    COMMAND = "command"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Plugins = Annotated[list[Path] | None, PLUGIN]


def plugins(
    kind: Annotated[
        Kind | None, typer.Argument(help="List the names of this kind, with what they are.")
    ] = None,
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """List the plugins, a line each, or the names of one kind, and what cannot be used, and why."""
    from dorib.host.registry import discover

    registry = discover(files=plugin or ())
    from dorib.cli import terminal
    from dorib.cli.tables import line_table, plain_table

    if as_json:
        terminal.show_json(_listing(registry, [kind] if kind else [*Kind]))
        return
    console = terminal.results_console()
    if kind:
        names = [(one.name, one.plugin, one.summary) for one in registry.of_kind(kind.value)]
        terminal.show_table(console, plain_table((kind.value, "plugin", "summary"), names))
    else:
        lines = [
            (one.name, one.version, str(one.contract), ", ".join(one.hooks), Path(one.source).name)
            for one in registry.plugins
        ]
        titles = ("plugin", "version", "contract", "hooks", "from")
        terminal.show_table(console, line_table(titles, lines))
        terminal.say(console, "", f"by name: dorib plugins {'|'.join(Kind)}")
    if registry.broken:
        unusable = [(broken.plugin, broken.reason) for broken in registry.broken]
        terminal.say(console, "")
        terminal.show_table(console, plain_table(("not usable", "reason"), unusable))


def params(
    kind: Annotated[MethodKind, typer.Argument(help="mitigation, attack, metric, rule or probe.")],
    name: Annotated[str, typer.Argument(help="A registered name; `dorib plugins` lists them.")],
    as_json: AsJson = False,
    plugin: Plugins = None,
) -> None:
    """List a method's parameters with their defaults and bounds."""
    from dorib.host.registry import discover

    registration = discover(files=plugin or ()).get(kind.value, name)
    from dorib.cli import terminal
    from dorib.cli.tables import plain_table

    if as_json:
        terminal.show_json(registration.params.model_json_schema())
        return
    console = terminal.results_console()
    rows = parameter_rows(registration)
    if not rows:
        terminal.say(console, f"{kind.value} {name} has no parameters")
        return
    terminal.show_table(console, plain_table(("parameter", "default", "values", "meaning"), rows))


def parameter_rows(registration: Registration) -> list[tuple[str, str, str, str]]:
    """Name, default, values and meaning of each parameter of a method."""
    schema = registration.params.model_json_schema()
    properties: dict[str, dict[str, Any]] = schema.get("properties", {})
    return [
        (parameter, _default(field), _values(field), str(field.get("description", "")))
        for parameter, field in properties.items()
    ]


def _listing(registry: Registry, kinds: Sequence[Kind]) -> dict[str, Any]:
    from dorib.contracts.hookspecs import CONTRACT_VERSION

    return {
        "contract": CONTRACT_VERSION,
        "plugins": [asdict(one) for one in registry.plugins],
        "registered": [
            {"kind": kind.value, "name": one.name, "plugin": one.plugin, "summary": one.summary}
            for kind in kinds
            for one in registry.of_kind(kind.value)
        ],
        "broken": [{"plugin": one.plugin, "reason": one.reason} for one in registry.broken],
    }


_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def _values(field: dict[str, Any]) -> str:
    """What a parameter takes, from its JSON Schema."""
    if "anyOf" in field:
        return " or ".join(_values(choice) for choice in field["anyOf"])
    if "enum" in field:
        return " or ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    kind = {"null": "none", "string": field.get("format", "text")}.get(
        field.get("type", ""), field.get("type", "any")
    )
    bounds = [f"{sign} {field[key]:g}" for key, sign in _BOUNDS.items() if key in field]
    return " ".join([kind, ", ".join(bounds)]).strip()


def _default(field: dict[str, Any]) -> str:
    if "default" not in field:
        return "required"
    default = field["default"]
    if default is None:
        return "none"
    return default if isinstance(default, str) else json.dumps(default)
