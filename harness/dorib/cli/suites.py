"""`dorib suites`: which suites there are, and what is in one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dorib.errors import DoribError

if TYPE_CHECKING:
    from dorib.suites.manifest import Sample

app = typer.Typer(help="List the suites, or show one.", invoke_without_command=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def suites(context: typer.Context, as_json: AsJson = False) -> None:
    """List the registered suites, or show one."""
    if context.invoked_subcommand is not None:
        return
    from dorib.cli import terminal
    from dorib.cli.tables import plain_table
    from dorib.host.registry import discover

    described = [_described(one.name, one.target) for one in discover().of_kind("suite")]
    if as_json:
        terminal.show_json(described)
        return
    console = terminal.results_console()
    if not described:
        terminal.say(console, "no suite is registered")
        return
    titles = ("name", "version", "title", "split: memorized + controls")
    terminal.show_table(console, plain_table(titles, map(_row, described)))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A registered suite's name, or a suite folder.")],
    samples: Annotated[bool, typer.Option("--samples", help="The sample table as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a suite: its settings and profiles, and its samples with their duplication."""
    from dorib.cli import terminal
    from dorib.cli.tables import plain_table
    from dorib.host.registry import discover
    from dorib.suites.suite import load_suite

    suite = load_suite(name, discover())
    if as_json:
        content: dict[str, Any] = {"suite": suite.manifest.model_dump(mode="json")}
        if samples:
            content["samples"] = [sample.model_dump(mode="json") for sample in suite.samples]
        terminal.show_json(content)
        return
    console = terminal.results_console()
    settings = suite.manifest.model_dump(mode="json")
    rows = [(key, _in_words(value)) for key, value in settings.items()]
    terminal.show_table(console, plain_table(("setting", "value"), rows))
    if samples:
        titles = ("sample", "role", "split", "duplication", "caption")
        cells = [(s.id, s.role, s.split, str(s.duplication), s.caption) for s in suite.samples]
        terminal.say(console, "")
        terminal.show_table(console, plain_table(titles, cells))


def _described(name: str, folder: str) -> dict[str, Any]:
    from dorib.suites.suite import Suite

    try:
        suite = Suite.load(Path(folder))
        splits = _splits(suite.samples)
    except DoribError as error:
        return {"name": name, "version": None, "title": None, "splits": {}, "error": str(error)}
    manifest = suite.manifest
    return {
        "name": name,
        "version": manifest.version,
        "title": manifest.title,
        "splits": splits,
        "error": None,
    }


def _row(suite: dict[str, Any]) -> tuple[str, str, str, str]:
    if suite["error"]:
        return suite["name"], "", f"not usable: {suite['error']}", ""
    counts = [
        f"{split}: {roles['memorized']} + {roles['control']}"
        for split, roles in suite["splits"].items()
    ]
    return suite["name"], suite["version"], suite["title"], "\n".join(counts)


def _splits(samples: tuple[Sample, ...]) -> dict[str, dict[str, int]]:
    counts = Counter((sample.split, sample.role) for sample in samples)
    return {
        split: {role: counts[split, role] for role in ("memorized", "control")}
        for split in sorted({sample.split for sample in samples})
    }


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_in_words(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
