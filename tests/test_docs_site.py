"""The documentation site: it builds without a warning, asks no other host, and lacks no name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import dorib
from dorib.cli.app import app
from dorib.cli.authors.reference import api_page, cli_page, entry_page, methods_page, public_names
from dorib.contracts import hookspecs
from dorib.contracts.registration import BUILT_IN_COMMANDS
from dorib.host.registry import discover
from dorib.ranking.schemas import committed_schema

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run(
        [*command, "--site-dir", str(folder / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stdout.strip()
    return folder / "site"


def test_pages_lead_to_pages_that_are_there(site: Path) -> None:
    # The page of a server that finds none names its own from the root.
    pages = [page for page in site.rglob("*.html") if page.name != "404.html"]
    assert len(pages) > 14
    for page in pages:
        for target in re.findall(r'(?:href|src)="([^"#]+)', page.read_text()):
            if not target.startswith(("http", "data:", "mailto:")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    loaded = re.compile(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(https?:[^"]+)"')
    for page in site.rglob("*.html"):
        if page.name != "404.html":
            assert not loaded.findall(page.read_text()), page.name


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "api.html").read_text()
    names = public_names()
    assert set(dorib.__all__) - {"__version__"} <= set(names)
    for name, module in names.items():
        if not name.startswith("_"):
            assert f'id="{module}.{name}"' in page, name
    assert api_page().count(":::") == len([name for name in names if name[0] != "_"])


def commands(group: Any, name: str, parent: Any = None) -> Iterator[tuple[str, Any]]:
    """Every command by its whole name, as it is once it is loaded."""
    context = group.make_context(name.split()[-1], [], parent=parent, resilient_parsing=True)
    yield name, context.command
    if hasattr(context.command, "list_commands"):
        for child in context.command.list_commands(context):
            yield from commands(
                context.command.get_command(context, child), f"{name} {child}", context
            )


def test_every_command_and_option_is_in_the_reference() -> None:
    found = dict(commands(typer.main.get_command(app), "dorib"))
    assert found.keys() >= {f"dorib {name}" for name in (*BUILT_IN_COMMANDS, "locality", "cliques")}
    sections = dict(re.findall(r"^## (dorib[^\n]*)\n\n```text\n(.*?)```", cli_page(), re.M | re.S))
    assert found.keys() == sections.keys()
    for name, command in found.items():
        options = [one for p in command.params for one in p.opts if one.startswith("-")]
        assert [one for one in options if one not in sections[name]] == []


def test_every_method_and_parameter_is_in_the_reference() -> None:
    page = methods_page()
    for registration in discover().registrations.values():
        if registration.built_in and registration.kind not in ("suite", "command"):
            section = page.partition(f"### {registration.kind} {registration.name}\n")[2]
            assert registration.summary in section
            for parameter in registration.params.model_fields:
                assert f"| {parameter} |" in section.partition("\n### ")[0]


def test_every_field_of_an_entry_is_in_the_reference() -> None:
    page = entry_page()
    schema = json.loads(committed_schema("entry"))
    for part in (schema, *schema["$defs"].values()):
        for field in part.get("properties", {}):
            assert f"| `{field}` |" in page


def test_every_hook_and_quantity_is_documented() -> None:
    plugins = (ROOT / "docs" / "plugins.md").read_text()
    for hook in vars(hookspecs):
        if hook.startswith("register_"):
            assert f"`{hook}(register)`" in plugins
    metrics = (ROOT / "docs" / "metrics.md").read_text()
    for registration in discover().of_kind("metric"):
        quantities = registration.load().quantities
        if isinstance(quantities, dict):
            for quantity in quantities:
                assert f"`{quantity}`" in metrics, quantity
