"""Reference pages from the code itself: commands, methods, public names, fields of an entry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from dorib.cli.app import app
from dorib.cli.plugins import parameter_rows
from dorib.contracts.registration import MethodKind
from dorib.host.registry import Registration, discover
from dorib.ranking.schemas import committed_schema

NAMES = Path(__file__).parents[2] / "__init__.pyi"
_NAME = re.compile(r"^from \.([\w.]+) import (\w+) as \2$", re.MULTILINE)
KINDS: tuple[MethodKind, ...] = ("mitigation", "attack", "rule", "metric", "probe")


def public_names() -> dict[str, str]:
    """By public name, the module that it is loaded from."""
    return {name: f"dorib.{module}" for module, name in _NAME.findall(NAMES.read_text())}


def api_page() -> str:
    """Every public name, for mkdocstrings to fill in."""
    lines = ["# Public names", "", "What may be imported from `dorib`.", ""]
    for name, module in sorted(public_names().items(), key=lambda item: item[0].casefold()):
        if not name.startswith("_"):
            lines += [f"## dorib.{name}", "", f"::: {module}.{name}", ""]
    return "\n".join(lines)


def cli_page() -> str:
    """What each command says of itself."""
    group: Any = typer.main.get_command(app)
    lines = ["# Command line", ""]
    for title, help_text in _helps(group, "dorib"):
        lines += [f"## {title}", "", "```text", help_text.rstrip(), "```", ""]
    return "\n".join(lines)


def _helps(command: Any, name: str, parent: Any = None) -> Iterator[tuple[str, str]]:
    context = command.make_context(name.split()[-1], [], parent=parent, resilient_parsing=True)
    yield name, context.get_help()
    if hasattr(command, "list_commands"):
        for child in command.list_commands(context):
            yield from _helps(command.get_command(context, child), f"{name} {child}", context)


def methods_page() -> str:
    """Every built-in method with its parameters."""
    registry = discover()
    lines = ["# Methods and parameters", "", "As `dorib params KIND NAME` lists them.", ""]
    for kind in KINDS:
        built_in = [one for one in registry.of_kind(kind) if one.built_in]
        if built_in:
            lines += [f"## {kind.capitalize()}s", ""]
        for registration in built_in:
            lines += [*_method(registration), ""]
    return "\n".join(lines)


def _method(registration: Registration) -> list[str]:
    title = [f"### {registration.kind} {registration.name}", "", registration.summary, ""]
    rows = parameter_rows(registration)
    if not rows:
        return [*title, "No parameters."]
    table = ["| parameter | default | values | meaning |", "|---|---|---|---|"]
    return [*title, *table, *(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows)]


def entry_page() -> str:
    """Every field of an entry, from the published schema."""
    schema = json.loads(committed_schema("entry"))
    lines = ["# Fields of an entry", ""]
    for name, part in {"Entry": schema, **schema.get("$defs", {})}.items():
        fields = part.get("properties", {})
        if fields:
            lines += [f"## {name}", "", part.get("description", "").split("\n\n")[0], ""]
            lines += ["| field | meaning |", "|---|---|"]
            lines += [f"| `{f}` | {_cell(of.get('description', ''))} |" for f, of in fields.items()]
            lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
