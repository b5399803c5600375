"""Imports point downwards, run in no circle, and plugins see public names only."""

from __future__ import annotations

from pathlib import Path

import pytest

import dorib
from fixtures.architecture import (
    LOOSE_MODULES,
    ROOMS,
    Import,
    circle,
    imports,
    modules,
    plugins_in_the_core,
    private_in_plugins,
    upward,
)

ROOT = Path(__file__).parents[1]
SOURCES = {
    folder: modules(ROOT / folder) for folder in ("harness", "plugins", "benchmarks", "tests")
}


def edges(*folders: str) -> list[Import]:
    """The imports of some of the repository's folders."""
    sources = {name: path for folder in folders for name, path in SOURCES[folder].items()}
    return imports(sources)


def planted(folder: Path, **files: str) -> list[Import]:
    """The imports of a tree of its own; `__` in a file's name stands for a folder."""
    for name, source in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return imports(modules(folder))


def test_every_room_is_there() -> None:
    core = ROOT / "harness" / "dorib"
    folders = {path.parent.name for path in core.glob("*/__init__.py")} - {"presets"}
    assert folders | {"run", "base"} == set(ROOMS)
    loose = {path.stem for path in core.glob("*.py")} - {"__init__"}
    assert loose <= set(LOOSE_MODULES)


def test_imports_of_the_core_point_downwards() -> None:
    assert upward(edges("harness")) == []


def test_an_import_upwards_is_found(tmp_path: Path) -> None:
    found = planted(
        tmp_path,
        dorib__store__files="from dorib.ranking import entries",
        dorib__ranking__entries="from dorib.store.files import write_json",
    )
    assert upward(found) == ["dorib.store.files (store) imports dorib.ranking.entries (ranking)"]


def test_an_import_upwards_for_types_alone_is_found(tmp_path: Path) -> None:
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from dorib.runner import run"
    found = planted(tmp_path, dorib__contracts__edits=source)
    assert upward(found) == ["dorib.contracts.edits (contracts) imports dorib.runner (run)"]


def test_an_import_of_the_package_itself_is_found(tmp_path: Path) -> None:
    found = planted(tmp_path, dorib__verbs__attack="from dorib import Edit")
    assert upward(found) == ["dorib.verbs.attack imports the package dorib itself"]


@pytest.mark.parametrize("folder", ["harness", "plugins", "benchmarks"])
def test_no_imports_run_in_a_circle(folder: str) -> None:
    assert circle(edges(folder)) == []


def test_a_circle_is_found(tmp_path: Path) -> None:
    found = planted(
        tmp_path,
        dorib__target__model="from dorib.target import sampling",
        dorib__target__sampling="def sample():\n    from dorib.target.model import Model",
    )
    assert circle(found) == ["dorib.target.model", "dorib.target.sampling", "dorib.target.model"]


def test_a_relative_import_counts(tmp_path: Path) -> None:
    found = planted(
        tmp_path, dorib__store__files="from ..ranking import entries", dorib__ranking__entries=""
    )
    assert upward(found) == ["dorib.store.files (store) imports dorib.ranking.entries (ranking)"]


def test_the_core_imports_no_plugin() -> None:
    assert plugins_in_the_core(edges("harness")) == []


def test_a_plugin_in_the_core_is_found(tmp_path: Path) -> None:
    found = planted(tmp_path, dorib__runner="from dorib_wanda import WandaParams")
    assert plugins_in_the_core(found) == ["dorib.runner imports dorib_wanda"]


def test_plugins_import_public_names_only() -> None:
    assert private_in_plugins(edges("plugins"), set(dorib.__all__)) == []


@pytest.mark.parametrize(
    ("source", "offence"),
    [
        ("from dorib.target.model import DiffusersModel", "imports dorib.target.model"),
        ("import dorib.store.files", "imports dorib.store.files"),
        ("from dorib import no_such", "imports no_such, which is no public name"),
        ("from dorib_dori.attack import Dori", "imports dorib_dori.attack"),
    ],
)
def test_a_private_name_in_a_plugin_is_found(tmp_path: Path, source: str, offence: str) -> None:
    found = planted(tmp_path, dorib_mine__attack=source)
    assert private_in_plugins(found, set(dorib.__all__)) == [f"dorib_mine.attack {offence}"]


def test_a_plugin_may_import_itself_and_public_names(tmp_path: Path) -> None:
    source = "from dorib import Edit\nfrom dorib_mine.other import helper"
    found = planted(tmp_path, dorib_mine__attack=source, dorib_mine__other="helper = 1")
    assert private_in_plugins(found, {"Edit"}) == []
