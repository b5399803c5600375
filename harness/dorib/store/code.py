"""Fingerprints of code: what a module or a plugin computes with, blind to comments and layout."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from dorib.errors import DoribError
from dorib.store.fingerprint import digest, file_digest, files_below

CORE = "dorib"
_ROOT = Path(__file__).parents[1]
_INSTALLED = {"site-packages", "dist-packages"}


@cache
def closure_digest(module: str) -> str:
    """Digest of a module of dorib and of all modules of dorib that it imports, directly or not."""
    return digest({name: _syntax_digest(_source(name)) for name in closure(module)})


@cache
def package_digest(package: str) -> str:
    """Digest of all that a plugin computes with.

    That is its package (code and data files), the modules of dorib behind the public names that
    it imports, other code that lies beside it, and the versions of the libraries it imports.

    Raises:
        DoribError: the package has no source.
    """
    return digest(_package_parts(package, (package,)))


def closure(*modules: str) -> list[str]:
    """The modules of dorib that importing any of `modules` brings, themselves included, by name."""
    found: set[str] = set()
    waiting = [name for module in modules for name in _with_packages(module)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _core_imports(name)
    return sorted(found)


def bare_syntax(tree: ast.Module) -> str:
    """A module's syntax tree as text, without comments, docstrings and layout."""
    for node in (tree, *_statements(tree.body)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)]
    return ast.dump(tree)


def _is_text(statement: ast.stmt) -> bool:
    """A docstring, or the text that stands below a field and says what it is."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _package_parts(package: str, above: tuple[str, ...]) -> dict[str, object]:
    files = _package_files(package)
    sources = [path for path in files.values() if path.suffix == ".py"]
    imported = {name for path in sources for name in _imports(path)}
    core = {m for name in imported if _top(name) == CORE for m in _with_packages(name)}
    others = {_top(name) for name in imported} - {CORE, *above, *sys.stdlib_module_names}
    return {
        "files": {
            name: _syntax_digest(path) if path.suffix == ".py" else file_digest(path)
            for name, path in files.items()
        },
        "core": {name: _syntax_digest(_source(name)) for name in closure(*core)},
        "others": {name: _other(name, (*above, name)) for name in sorted(others)},
    }


def _other(module: str, above: tuple[str, ...]) -> object:
    """The version of an installed library; of code that lies elsewhere what it computes with."""
    origin = _origin(module)
    if origin is None or _INSTALLED & set(origin.parts):
        with suppress(PackageNotFoundError):
            return version(module)
        for name in _distributions().get(module, ()):
            return f"{name} {version(name)}"
    try:
        return _package_parts(module, above)
    except DoribError:
        return "not installed"


def _origin(module: str) -> Path | None:
    """Where a package or module lies; None where there is none, or it has no file."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.has_location else None


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())


def _package_files(package: str) -> dict[str, Path]:
    """All files of an importable package or module by relative place, compiled ones left out."""
    origin = _origin(package)
    if origin is None or origin.suffix != ".py":
        raise DoribError(f"package {package} has no source to fingerprint; install it from source")
    if origin.name != "__init__.py":
        return {origin.name: origin}
    return {
        name: origin.parent / name
        for name in files_below(origin.parent)
        if "__pycache__" not in name.split("/") and not name.endswith(".pyc")
    }


@cache
def _core_imports(module: str) -> list[str]:
    """The modules of dorib that one of them imports, their packages included."""
    path = _source(module)
    names = (name for name in _imports(path) if _top(name) == CORE)
    return [found for name in names for found in _with_packages(name)]


def _imports(path: Path) -> tuple[str, ...]:
    """Dotted names that a file imports at any depth, but for types alone; relative ones too."""
    return _read(path)[1]


def _imported(path: Path, tree: ast.Module) -> Iterator[str]:
    for node in _statements(tree.body, for_types=False):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = node.module or ""
            if node.level:
                home = ".".join(part for part in (_package_of(path, node.level), home) if part)
            yield from (f"{home}.{alias.name}" for alias in node.names)


def _statements(body: list[ast.stmt], *, for_types: bool = True) -> Iterator[ast.stmt]:
    """All statements at any depth; those below `if TYPE_CHECKING:` where `for_types` is true."""
    waiting = list(body)
    while waiting:
        statement = waiting.pop()
        yield statement
        if not for_types and isinstance(statement, ast.If) and _asks_for_types(statement.test):
            waiting += statement.orelse
            continue
        for block in ("body", "orelse", "finalbody"):
            waiting += getattr(statement, block, ())
        for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            waiting += part.body


def _asks_for_types(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _package_of(path: Path, level: int) -> str:
    """The package that a relative import in the file at `path` starts from."""
    folder = path.parent
    for _ in range(level - 1):
        folder = folder.parent
    parts = [folder.name]
    while (folder.parent / "__init__.py").exists():
        folder = folder.parent
        parts.append(folder.name)
    return ".".join(reversed(parts))


def _with_packages(name: str) -> list[str]:
    """The module of dorib that `name` is, or is taken from, and the packages around it."""
    parts = name.split(".")
    if len(parts) == 2 and not _exists(name):
        # A public name: the table says where it is loaded from.
        home = _public_names().get(parts[1], CORE)
        return _with_packages(home) if home != CORE else [CORE]
    while len(parts) > 1 and not _exists(".".join(parts)):
        parts.pop()
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


@cache
def _public_names() -> dict[str, str]:
    """By public name, the module that it is loaded from."""
    tree = ast.parse((_ROOT / "__init__.pyi").read_text(encoding="utf-8"))
    return {
        alias.asname or alias.name: f"{CORE}.{node.module}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _exists(module: str) -> bool:
    try:
        _source(module)
    except FileNotFoundError:
        return False
    return True


@cache
def _source(module: str) -> Path:
    """The file of a module of dorib."""
    place = _ROOT.joinpath(*module.split(".")[1:])
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    raise FileNotFoundError(module)


def _syntax_digest(path: Path) -> str:
    return _read(path)[0]


@cache
def _read(path: Path) -> tuple[str, tuple[str, ...]]:
    """Digest of a file's bare syntax, and what it imports: parsed once, as that takes time."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, RecursionError):
        # No Python that can be read: a template, say.
        return file_digest(path), ()
    imported = tuple(_imported(path, tree))
    return digest(bare_syntax(tree)), imported


def _top(name: str) -> str:
    return name.partition(".")[0]
