"""One mutant at a time: applied in a copy of the tree, tested, taken back."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from mutants.table import Mutant

ROOT = Path(__file__).parents[2]
LIMIT = 300
"""Seconds that a test run may take: a mutant that hangs is killed by it."""
FAILED, NOT_COLLECTED = 1, 2
"""pytest's exit codes where a test failed, and where a test file could not be imported."""
SOURCES = "harness", "plugins", "benchmarks"
OUTPUT = "pytest.out"
_CONTEXT = multiprocessing.get_context("forkserver")
# Libraries that take their time; nothing of the program itself.
_CONTEXT.set_forkserver_preload(
    ["pytest", "hypothesis", "numpy", "scipy.special", "scipy.stats", "pydantic", "yaml"]
)


@dataclass(frozen=True)
class Result:
    """What became of a mutant."""

    mutant: Mutant
    code: int | None
    """pytest's exit code; None where it took too long."""
    seconds: float

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


def run_mutant(tree: Path, mutant: Mutant) -> Result:
    """Apply `mutant` in `tree`, run its tests until one fails, and take it back."""
    path = tree / mutant.file
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace(mutant.old, mutant.new), encoding="utf-8")
    start = time.monotonic()
    try:
        code = _pytest(tree, (*mutant.options, *mutant.tests))
    finally:
        path.write_text(before, encoding="utf-8")
    return Result(mutant, code, time.monotonic() - start)


def run_unmutated(tree: Path, arguments: tuple[str, ...]) -> str | None:
    """What pytest says without a mutant, where it does not pass: then it tells nothing."""
    code = _pytest(tree, arguments)
    return None if code == 0 else (tree / OUTPUT).read_text(encoding="utf-8")[-4000:]


def _pytest(tree: Path, arguments: tuple[str, ...]) -> int | None:
    """pytest's exit code; None where it took too long."""
    process = _CONTEXT.Process(target=_run_tests, args=(tree, arguments))
    process.start()
    process.join(LIMIT)
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
    # Bytecode is told apart by seconds and sizes, and a mutant may differ in neither.
    sys.dont_write_bytecode = True
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(mutated)}
    os.chdir(tree)
    with (tree / OUTPUT).open("w") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
        sys.exit(int(pytest.main(["-x", "--no-header", *arguments])))
