"""Run the mutants: `python -m mutants [SUBJECT ...] [--jobs N]`, from `tests`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

from mutants.record import Killers, Progress
from mutants.runner import LIMIT, ROOT, Result, Unmutated, copy_tree, run_mutant
from mutants.table import Mutant, read_tables

ENOUGH = 0.95


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("subject", nargs="*", help="tables to run; none: all")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--name", default="", help="those whose names hold this text")
    parser.add_argument("--list", action="store_true", help="check the tables and run nothing")
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FILE",
        help="where results are put down; those that are there already are not run again",
    )
    parser.add_argument(
        "--passing",
        action="store_true",
        help="the tests are known to pass without mutants: do not try that",
    )
    chosen = parser.parse_args()
    mutants = [m for m in read_tables(ROOT, chosen.subject) if chosen.name in m.name]
    print(f"{len(mutants)} mutants of {len({mutant.subject for mutant in mutants})} subjects")
    if chosen.list:
        return 0
    progress = Progress(chosen.resume)
    results = progress.done(mutants)
    waiting = [mutant for mutant in mutants if mutant not in [r.mutant for r in results]]
    return _report(results + _run(waiting, progress, chosen))


def _run(mutants: list[Mutant], progress: Progress, chosen: argparse.Namespace) -> list[Result]:
    # Read where torch is imported, before a test run has its own say.
    os.environ["OMP_NUM_THREADS"] = "1"
    killers, lock = Killers(), Lock()
    known = {
        options: tuple(
            sorted({killers.of(m) or "" for m in mutants if m.options == options} - {""})
        )
        for options in {mutant.options for mutant in mutants}
    }
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        trees: SimpleQueue[Path] = SimpleQueue()
        for job in range(chosen.jobs):
            trees.put(copy_tree(ROOT, Path(scratch) / str(job)))
        unmutated = Unmutated(copy_tree(ROOT, Path(scratch) / "unmutated"))

        def limit(options: tuple[str, ...], tests: tuple[str, ...]) -> float:
            if chosen.passing:
                return LIMIT
            with lock:
                return unmutated.limit((*options, *tests))

        def work(mutant: Mutant) -> Result:
            killer, options, tree = killers.of(mutant), mutant.options, trees.get()
            try:
                result = None
                if killer:
                    # All killers have to pass unmutated, and do so in one run.
                    result = run_mutant(tree, mutant, [killer], limit(options, known[options]))
                if result is None or not result.killed:
                    most = limit(options, mutant.tests)
                    result = run_mutant(tree, mutant, mutant.tests, most)
            finally:
                trees.put(tree)
            with lock:
                killers.note(result)
                progress.note(result)
                print(result, flush=True)
            return result

        with ThreadPoolExecutor(chosen.jobs) as pool:
            return list(pool.map(work, mutants))


def _report(results: list[Result]) -> int:
    for subject in dict.fromkeys(result.mutant.subject for result in results):
        of_subject = [result for result in results if result.mutant.subject == subject]
        print(f"{subject}: {sum(r.killed for r in of_subject)} of {len(of_subject)} killed")
    killed = sum(result.killed for result in results)
    print(f"all: {killed} of {len(results)} killed, {killed / max(1, len(results)):.1%}")
    for result in results:
        if not result.killed:
            print(f"survived: {result.mutant.name} ({result.mutant.file})")
    return int(killed < ENOUGH * len(results))


if __name__ == "__main__":
    sys.exit(main())
