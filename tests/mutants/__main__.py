"""Run the mutants: `python -m mutants [SUBJECT ...] [--jobs N]`, from `tests`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from mutants.runner import ROOT, Result, copy_tree, run_mutant, run_unmutated
from mutants.table import Mutant, read_tables

ENOUGH = 0.95


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("subject", nargs="*", help="tables to run; none: all")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--name", default="", help="those whose names hold this text")
    parser.add_argument("--list", action="store_true", help="check the tables and run nothing")
    chosen = parser.parse_args()
    mutants = [m for m in read_tables(ROOT, chosen.subject) if chosen.name in m.name]
    print(f"{len(mutants)} mutants of {len({mutant.subject for mutant in mutants})} subjects")
    if chosen.list:
        return 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        trees: SimpleQueue[Path] = SimpleQueue()
        for job in range(chosen.jobs):
            trees.put(copy_tree(ROOT, Path(scratch) / str(job)))
        unmutated = copy_tree(ROOT, Path(scratch) / "unmutated")

        def work(mutant: Mutant) -> Result:
            tree = trees.get()
            try:
                return run_mutant(tree, mutant)
            finally:
                trees.put(tree)

        results = []
        with ThreadPoolExecutor(chosen.jobs) as pool:
            for arguments, group in _by_tests(mutants).items():
                if problem := run_unmutated(unmutated, arguments):
                    said = f"{' '.join(arguments)} fails without any mutant:\n{problem}"
                    print(said, file=sys.stderr)
                    return 2
                for result in pool.map(work, group):
                    print(result, flush=True)
                    results.append(result)
    return _report(results)


def _by_tests(mutants: list[Mutant]) -> dict[tuple[str, ...], list[Mutant]]:
    groups: dict[tuple[str, ...], list[Mutant]] = {}
    for mutant in mutants:
        groups.setdefault((*mutant.options, *mutant.tests), []).append(mutant)
    return groups


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
