"""Fingerprints: what a result depends on, as digests."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dorib.errors import DoribError

NUMERICS = (
    "dorib.target",
    "dorib.kit",
    "dorib.contracts.seeds",
    "dorib.contracts.edits",
    "dorib.contracts.embeddings",
    "dorib.suites.images",
)
"""Packages and modules that the numbers are computed by."""

LIBRARIES = ("torch", "diffusers", "transformers")


def digest(content: Any) -> str:
    """sha256 of a JSON value in canonical form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def method_slug(name: str, label: str, params: Mapping[str, Any]) -> str:
    """A method as part of a file name: its name, and a digest of `params` where `label` has any."""
    return name if label == name else f"{name}-{digest(params)[:8]}"


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes.

    Raises:
        DoribError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DoribError(f"{path}: cannot be read ({error.strerror}); restore the file") from error


def folder_digest(folder: Path) -> str:
    """Digest of all files below `folder`, by relative name and content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest({str(path.relative_to(folder)): file_digest(path) for path in files})


@cache
def code_digest(package: str) -> str:
    """Digest of a package's Python code, blind to comments, docstrings and layout."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DoribError(f"package {package} has no source to fingerprint; install it from source")
    origin = Path(spec.origin)
    files = sorted(origin.parent.rglob("*.py")) if spec.submodule_search_locations else [origin]
    return digest({str(f.relative_to(origin.parent)): _bare_syntax(f.read_text()) for f in files})


def library_versions() -> dict[str, str]:
    """Versions of the libraries that numbers depend on."""
    return {name: _version(name) for name in LIBRARIES}


def numerics_digest() -> str:
    """Digest of dorib's own numerics: the target model, the kit, the seeds, the edits."""
    return digest([code_digest(part) for part in NUMERICS])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _bare_syntax(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return ast.dump(tree)
