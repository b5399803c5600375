"""What a plugin's source says of it: imports, parameters, summaries."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from dorib.host.registry import Registration

HEAVY = ("torch", "diffusers", "transformers", "scipy", "pandas")
"""What a plugin's package must not import before a run uses it."""


def files_of(registration: Registration) -> list[Path]:
    """The Python files of the plugin's package, or its one module."""
    package = registration.target.partition(":")[0].partition(".")[0]
    found = importlib.util.find_spec(package)
    if found is None or not found.origin:
        return []
    origin = Path(found.origin)
    if not found.submodule_search_locations:
        return [origin]
    return sorted(origin.parent.rglob("*.py"))


def imported_early(registration: Registration) -> list[str]:
    """The heavy libraries that importing the package alone brings."""
    files = files_of(registration)
    if not files or registration.inline:
        # A module of one file holds the class as well.
        return []
    package = registration.target.partition(":")[0].partition(".")[0]
    program = (
        "import sys; sys.path[:0] = sys.argv[2:]; __import__(sys.argv[1]); "
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, package, *sys.path],
        capture_output=True,
        text=True,
    )
    return done.stdout.split() if done.returncode == 0 else []


def private_imports(registration: Registration) -> Iterator[str]:
    """What it imports of dorib that is no public name, and what of other plugins."""
    own = registration.target.partition(":")[0].partition(".")[0]
    for path in files_of(registration):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            for module in _modules(node):
                top, _, rest = module.partition(".")
                private = top == "dorib" and rest and not rest.startswith("testing")
                other = top.startswith("dorib_") and top != own
                if private or other:
                    yield f"{path.name}, line {node.lineno}, imports {module}"  # type: ignore[attr-defined]


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module]
    return []


def undescribed(registration: Registration) -> list[str]:
    """Parameters without a description."""
    fields = registration.params.model_fields
    return [name for name, field in fields.items() if not field.description]
