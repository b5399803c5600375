"""What importing costs: torch is loaded only when it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import dorib

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("dorib_*/__init__.py"))
HEAVY = ("torch", "diffusers", "transformers", "scipy", "onnxruntime")


def imported_by(statement: str) -> set[str]:
    """Top-level modules in memory after `statement` has run in a fresh interpreter."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    path = [str(ROOT / folder) for folder in ("harness", "plugins", "benchmarks")]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize(
    "module",
    ["dorib", "dorib.cli.app", "dorib.host.registry", *(folder.name for folder in PLUGINS)],
)
def test_import_is_light(module: str) -> None:
    assert not imported_by(f"import {module}").intersection(HEAVY)


def test_help_is_light() -> None:
    statement = (
        "from dorib.cli.app import main\nimport sys\nsys.argv = ['dorib', '--help']\n"
        "try:\n    main()\nexcept SystemExit as exit:\n    assert not exit.code"
    )
    assert not imported_by(statement).intersection(HEAVY)


def test_public_names_are_there() -> None:
    for name in dorib.__all__:
        assert getattr(dorib, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = dorib.no_such_name
