"""The documentation's examples: they run as they stand."""

from __future__ import annotations

import json
import re
import shlex
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml

from dorib import runner
from dorib.cli.app import main
from dorib.config import make_config
from dorib.host.registry import discover
from dorib.suites.manifest import Manifest, Sample
from dorib.workers import start

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
SHORT = {"attack": ["none"], "metric": ["sscd"], "limit": 1, "seeds": 1}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text()
    return [content for found, content in BLOCK.findall(text) if found == language]


def files_of_plugins_page() -> dict[str, str]:
    """The named files of the complete plugin."""
    text = (ROOT / "docs" / "plugins.md").read_text()
    named = re.compile(r"^`([\w./]+)`\n\n```\w+\n(.*?)```", re.DOTALL | re.MULTILINE)
    return dict(named.findall(text))


def files_of_readme() -> dict[str, str]:
    """The files of the shortest plugin, each below a comment with its name."""
    [block] = blocks("README.md", "python")
    parts = re.split(r"^# (halve/\w+\.py)\n", block, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize(
    ("files", "module", "options"),
    [
        (files_of_plugins_page(), "dorib_shrink", {"mitigation": ["shrink:factor=0.8"]}),
        (files_of_plugins_page(), "dorib_wander", {"attack": ["wander:restarts=2"], "budgets": 8}),
        (files_of_plugins_page(), "dorib_speckle", {"metric": ["speckle"]}),
        (files_of_readme(), "halve", {"mitigation": ["halve"]}),
    ],
    ids=["docs/plugins.md", "docs/plugins.md, a search", "docs/plugins.md, a metric", "README.md"],
)
def test_the_documented_plugin_runs(
    files: dict[str, str],
    module: str,
    options: dict[str, Any],
    tiny_suite_folder: Path,
    built_in_plugins: list[EntryPoint],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    registry = discover([*built_in_plugins, EntryPoint("documented", module, "dorib")])
    assert not [broken for broken in registry.broken if broken.plugin == "documented"]
    where = {"suite": str(tiny_suite_folder), "out": str(tmp_path / "out")}
    result = runner.run(make_config({**SHORT, **where, **options}), registry)
    last = result.entries[-1]
    for kind in ("mitigation", "attack"):
        for asked in options.get(kind, []):
            assert getattr(last, kind).label == asked
    assert not last.errors
    if "metric" in options:
        assert "speckle" in last.summaries.memorized


def test_the_documented_command_is_the_package_that_is_installed_in_the_tests() -> None:
    named = files_of_plugins_page()
    for name in ("dorib_words/__init__.py", "dorib_words/command.py"):
        assert named[name] == (ROOT / "tests/third_party/dorib_words" / name).read_text()


def test_the_documented_suite_is_valid() -> None:
    [manifest] = blocks("docs/suites.md", "yaml")
    assert Manifest.model_validate(yaml.safe_load(manifest)).full.memorized is None
    [row] = blocks("docs/suites.md", "json")
    assert Sample.model_validate(json.loads(row)).duplication == 64


def test_the_documented_run_file_is_valid() -> None:
    [run_file] = blocks("docs/plugins.md", "yaml")
    config = make_config(yaml.safe_load(run_file))
    assert config.mitigation[1].params == {"factor": 0.5}


def test_documented_runs_are_accepted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "run_shared", stop)
    monkeypatch.setattr(runner, "plan", stop)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text("mitigation: [wanda]")
    for folder in ("benchmarks", "examples", "leaderboards"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    commands = [
        shlex.split(line, comments=True)[1:]
        for page in PAGES
        for line in page.read_text().splitlines()
        if line.startswith("    dorib run")
    ]
    assert len(commands) >= 4
    for command in commands:
        with pytest.raises(SystemExit) as exit:
            main(command)
        assert exit.value.code == 130, capfd.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    # Those below `reference` are made from the code: the site's own test sees that they are there.
    targets = re.findall(r"\]\((?!https?:|reference/)([^)#]+)\)", page.read_text())
    assert not [target for target in targets if not (page.parent / target).exists()]
    mentioned = re.findall(
        r"`((?:docs|harness|plugins|benchmarks|tests)/[\w./-]+)`", page.read_text()
    )
    assert not [path for path in mentioned if not (ROOT / path).exists()]
