"""One mutant at a time: applied in a copy of the tree, tested, taken back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from mutants.table import Mutant

ROOT = Path(__file__).parents[2]
LIMIT = 900
"""Seconds that a test run may take: a mutant that hangs is killed by it."""
FAILED, NOT_COLLECTED = 1, 2
"""pytest's exit codes where a test failed, and where a test file could not be imported."""


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
        code: int | None = _pytest(tree, (*mutant.options, *mutant.tests)).returncode
    except subprocess.TimeoutExpired:
        code = None
    finally:
        path.write_text(before, encoding="utf-8")
    return Result(mutant, code, time.monotonic() - start)


def run_unmutated(tree: Path, arguments: tuple[str, ...]) -> str | None:
    """What pytest says without a mutant, where it does not pass: then it tells nothing."""
    ended = _pytest(tree, arguments)
    return None if ended.returncode == 0 else ended.stdout[-4000:]


def _pytest(tree: Path, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    # Before the editable install, which leads to the unmutated tree. No bytecode: it is told apart
    # by seconds and sizes, and a mutant may differ in neither.
    sources = [str(tree / part) for part in ("harness", "plugins", "benchmarks")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sources),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "--no-header", *arguments],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
