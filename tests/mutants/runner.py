"""One mutant at a time: applied in a copy of the tree, tested, taken back."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutants.table import Mutant

ROOT = Path(__file__).parents[2]
LIMIT = 900
"""Seconds that a test run may take at least: a mutant that hangs is killed by it."""
SLOWER = 5
"""How many times as long as without a mutant a test run may take."""
FAILED, NOT_COLLECTED = 1, 2
"""pytest's exit codes where a test failed, and where a test file could not be imported or an
interrupt came."""
SOURCES = "harness", "plugins", "benchmarks"
OUTPUT, KILLER = "pytest.out", "killer.out"
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["mutants.libraries"])


@dataclass(frozen=True)
class Result:
    """What became of a mutant."""

    mutant: Mutant
    code: int | None
    """pytest's exit code; None where it took too long."""
    seconds: float
    killer: str | None = None
    """The test that failed, where one did."""

    @property
    def killed(self) -> bool:
        """Whether a test noticed."""
        return self.code in (None, FAILED, NOT_COLLECTED)

    def __str__(self) -> str:
        how = {None: "killed (hung)", FAILED: "killed", NOT_COLLECTED: "killed (no import)"}
        said = how.get(self.code, f"SURVIVED ({self.code})")
        return f"{said}: {self.mutant.subject}: {self.mutant.name} [{self.seconds:.0f} s]"


def copy_tree(root: Path, to: Path) -> Path:
    """The tracked and the new files of the working tree, and nothing that was built from them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (root / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, to / name)
    return to


def run_mutant(
    tree: Path, mutant: Mutant, tests: Sequence[str] | None = None, limit: float = LIMIT
) -> Result:
    """Apply `mutant` in `tree`, run `tests` (None: its own) until one fails, and take it back."""
    start = time.monotonic()
    noted = tree / KILLER
    noted.unlink(missing_ok=True)
    with _applied(mutant, tree / mutant.file):
        code = _pytest(tree, (*mutant.options, *(tests or mutant.tests)), limit)
    # An interrupt ends pytest with no test named.
    killer = noted.read_text() if noted.exists() else None
    return Result(mutant, code, time.monotonic() - start, killer)


@contextmanager
def _applied(mutant: Mutant, path: Path) -> Iterator[None]:
    before = path.read_text(encoding="utf-8")
    try:
        _rewrite(path, before.replace(mutant.old, mutant.new))
        yield
    finally:
        _rewrite(path, before)


def _rewrite(path: Path, text: str) -> None:
    """Without its bytecode, told apart by seconds and sizes: mutants may differ in neither."""
    path.write_text(text, encoding="utf-8")
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


class Unmutated:
    """Tests without any mutant: where they fail, a mutant's failure tells nothing."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self._limits: dict[tuple[str, ...], float] = {}

    def limit(self, arguments: tuple[str, ...]) -> float:
        """The seconds that a run of these tests with a mutant may take; they are run once.

        Raises:
            SystemExit: one of them fails.
        """
        if arguments not in self._limits:
            start = time.monotonic()
            if problem := run_unmutated(self._tree, arguments):
                raise SystemExit(f"{' '.join(arguments)} fails without any mutant:\n{problem}")
            self._limits[arguments] = max(LIMIT, SLOWER * (time.monotonic() - start))
        return self._limits[arguments]


def run_unmutated(tree: Path, arguments: tuple[str, ...]) -> str | None:
    """What pytest says without a mutant, where it does not pass."""
    code = _pytest(tree, arguments, limit=None)
    return None if code == 0 else (tree / OUTPUT).read_text(encoding="utf-8")[-4000:]


def _pytest(tree: Path, arguments: tuple[str, ...], limit: float | None) -> int | None:
    """pytest's exit code; None where it took too long."""
    process = _CONTEXT.Process(target=_run_tests, args=(tree, arguments))
    process.start()
    process.join(limit)
    if process.exitcode is None:
        process.kill()
        process.join()
        return None
    return process.exitcode


def _run_tests(tree: Path, arguments: tuple[str, ...]) -> None:
    """In a process of its own, in which nothing of the program has been imported."""
    import pytest

    # The editable install leads to the unmutated tree.
    unmutated = {str(ROOT / part) for part in (*SOURCES, "tests")}
    mutated = [str(tree / part) for part in SOURCES]
    sys.path[:] = [*mutated, *(path for path in sys.path if path not in unmutated)]
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(mutated),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    os.chdir(tree)
    # What was imported before the fork is no garbage: each look at it copies its pages.
    gc.freeze()
    with (tree / OUTPUT).open("w") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
        options = ["-x", "--no-header", "-p", "_hypothesis_pytestplugin", *_without_shrinking()]
        noting = _Noting(tree / KILLER)
        sys.exit(int(pytest.main([*options, *arguments], plugins=[noting])))


def _without_shrinking() -> list[str]:
    """For pytest: a property that fails is enough; its simplest example is not looked for."""
    from hypothesis import Phase, settings

    settings.register_profile(
        "mutants", phases=(Phase.explicit, Phase.generate), deadline=None, database=None
    )
    return ["--hypothesis-profile", "mutants"]


class _Noting:
    """A pytest plugin: writes down which test failed, or which file was not to be imported."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._path.write_text(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._path.write_text(report.nodeid)
