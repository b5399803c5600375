"""`dorib new`: a package that passes its own tests, made from the examples by renaming."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import get_args

from dorib.contracts.registration import MethodKind
from dorib.errors import DoribError
from dorib.host.registry import NAME, Registry
from dorib.store.files import named_write_errors
from dorib.suites.suite import load_suite

HERE = Path(__file__).parents[1]
EMBEDDED = "EMBEDDED"
"""Where an example names something of the embedded suite."""


def examples() -> Path:
    """The folder of all examples: beside the package in a wheel, at the top of a checkout."""
    packaged = HERE / "examples"
    return packaged if packaged.is_dir() else HERE.parents[1] / "examples"


def kinds() -> list[str]:
    """The kinds of packages that are made: a folder of the examples each, beside others."""
    known = (*get_args(MethodKind), "suite")
    return sorted(kind for kind in known if (examples() / kind / "pyproject.toml").is_file())


def write_package(kind: str, name: str, folder: Path, registry: Registry) -> Path:
    """Write the package `dorib-NAME` into `folder`, whole or not at all.

    Raises:
        DoribError: there is no such kind, the name is none or taken, or the folder is there.
    """
    if kind not in kinds():
        raise DoribError(f"no example of {kind!r}; choose from: {', '.join(kinds())}")
    if not NAME.fullmatch(name) or not name[0].isalpha():
        raise DoribError(
            f"{name!r}: a name is lower-case letters, digits and hyphens, and begins with a letter"
        )
    taken = [one for one in registry.registrations.values() if one.name == name]
    if taken:
        raise DoribError(
            f"{taken[0].kind} {name!r} is plugin {taken[0].plugin}'s; take another name"
        )
    with named_write_errors(folder, "--to"):
        if os.path.lexists(folder):
            raise DoribError(f"{folder}: is there already; name another folder, or remove it")
        _write(kind, name, folder)
    return folder


def _write(kind: str, name: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        package = Path(temporary) / "package"
        shutil.copytree(examples() / kind, package, ignore=shutil.ignore_patterns("__pycache__"))
        names = _names(kind, name)
        for path in sorted(package.rglob("*"), reverse=True):
            if path.is_file() and path.suffix != ".png":
                path.write_text(_renamed(path.read_text(encoding="utf-8"), names), encoding="utf-8")
            path.rename(path.with_name(_renamed(path.name, names)))
        package.rename(folder)


def _names(kind: str, name: str) -> dict[str, str]:
    snake = name.replace("-", "_")
    camel = "".join(part.capitalize() for part in name.split("-"))
    names = {
        f"example-{kind}": name,
        f"example_{kind}": snake,
        f"Example{kind.capitalize()}": camel,
    }
    if kind == "suite":
        suite = load_suite("tiny")
        assert suite.descriptor is not None
        names[f"{EMBEDDED}-THRESHOLD"] = str(suite.descriptor.threshold)
        names[f"{EMBEDDED}/"] = f"{suite.root}/"
    return names


def _renamed(text: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        text = text.replace(old, new)
    return text
