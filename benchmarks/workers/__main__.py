"""Two and four workers against one process: time, processor time, whether bytes are the same.

`python -m workers --out FOLDER` from `benchmarks`, on a machine that does nothing else. `--small`
is a run of seconds on a random suite; `--together` compares two plain runs on one folder at once
with one run. Each way starts from nothing, one after another.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

MITIGATIONS = "wanda:sparsity=0.4", "prompt-filter", "concept"
ATTACKS = "dori", "dori:start=random", "transfer"
SMALL = ["--metric", "clip", "--batch-size", "1", "--budgets", "192"]
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Way:
    """How a run is made."""

    name: str
    threads: int
    workers: int | None = None
    """None: the command's own process alone."""
    runs: int = 1
    """The same command so many times at once, on one folder."""


WAYS = {
    "alone": Way("one process, 1 thread", 1),
    "threads": Way("one process, 2 threads", 2),
    "two": Way("2 workers, 1 thread each", 1, 2),
    "four": Way("4 workers, 1 thread each", 1, 4),
}
TOGETHER = Way("one run", 1), Way("two runs at once", 1, runs=2)


@dataclass(frozen=True)
class Measured:
    """What one run took."""

    name: str
    threads: int
    workers: int | None
    seconds: float
    processor_seconds: float
    """User and system time of the command and all processes that it started."""
    of_workers: list[float]
    """The same of each worker."""
    digest: str
    """Of all that was left, pictures for readers apart."""


def measure(way: Way, options: Sequence[str], out: Path) -> Measured:
    """Run once, into a folder that is not there yet."""
    command = [sys.executable, "-m", "dorib", "run", *options, "--out", str(out)]
    if way.workers:
        command += ["--workers", str(way.workers)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(way.threads)}
    begin = time.monotonic()
    spent: dict[int, float] = {}
    workers: set[int] = set()
    with ExitStack() as running:
        runs = [
            running.enter_context(subprocess.Popen(command, env=environment))
            for _ in range(way.runs)
        ]
        while any([run.poll() is None for run in runs]):
            time.sleep(POLL_SECONDS)
            for run in runs:
                _sample(run.pid, spent, workers)
    for run in runs:
        if run.returncode:
            raise SystemExit(f"{way.name}: ended with {run.returncode}")
    seconds = time.monotonic() - begin
    of_workers = [round(spent[process], 1) for process in sorted(workers)]
    total, digest = sum(spent.values()), digest_of(out)
    return Measured(way.name, way.threads, way.workers, seconds, total, of_workers, digest)


def _sample(root: int, spent: dict[int, float], workers: set[int]) -> None:
    try:
        processes = [one := psutil.Process(root), *one.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        try:
            times = process.cpu_times()
            spent[process.pid] = times.user + times.system
            if "ray::Worker" in " ".join(process.cmdline()):
                workers.add(process.pid)
        except psutil.Error:
            continue


def digest_of(out: Path) -> str:
    """Of every file by place and content; pictures and what tells of time are left out."""
    total = hashlib.sha256()
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        place = path.relative_to(out).as_posix()
        if not place.startswith(("pictures", "run.json")):
            total.update(f"{place} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def options_of(
    *,
    full: bool,
    mitigations: Sequence[str] = MITIGATIONS,
    attacks: Sequence[str] = ATTACKS,
) -> list[str]:
    """What all ways run alike."""
    options = ["--device", "cpu", "--full" if full else "--quick"]
    for kind, methods in (("mitigation", mitigations), ("attack", attacks)):
        for method in methods:
            options += [f"--{kind}", method]
    return options


def as_row(one: Measured, alone: Measured) -> dict[str, Any]:
    """What a way took beside one process with one thread; efficiency is by worker, or thread."""
    speed_up = alone.seconds / one.seconds
    efficiency = speed_up / (one.workers or one.threads)
    same_bytes = one.digest == alone.digest
    return {
        **asdict(one),
        "speed_up": speed_up,
        "efficiency": efficiency,
        "same_bytes": same_bytes,
    }


def main() -> None:
    """Measure all ways, print a table and write `speed_up.json`."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="an empty folder for the runs")
    parser.add_argument("--mitigation", action="append", help=f"default: {', '.join(MITIGATIONS)}")
    parser.add_argument("--attack", action="append", help=f"default: {', '.join(ATTACKS)}")
    parser.add_argument("--quick", action="store_true", help="the suite's quick profile")
    parser.add_argument("--small", action="store_true", help="a random suite, for a trial")
    parser.add_argument("--together", action="store_true", help="two plain runs at once")
    parser.add_argument(
        "--way",
        choices=WAYS,
        action="append",
        help="in this order, the first is compared with; default: all",
    )
    parser.add_argument(
        "--budgets", help="the attacks', in place of the profile's: 240,480 takes a quarter as long"
    )
    asked = parser.parse_args()
    options = options_of(
        full=not asked.quick,
        mitigations=asked.mitigation or MITIGATIONS,
        attacks=asked.attack or ATTACKS,
    )
    if asked.budgets:
        options += ["--budgets", asked.budgets]
    if asked.small:
        from dorib.testing.suites import save_random_suite

        options += ["--suite", str(save_random_suite(asked.out / "suite")), *SMALL]
    ways = TOGETHER if asked.together else [WAYS[name] for name in asked.way or WAYS]
    found = [measure(way, options, asked.out / f"run-{n}") for n, way in enumerate(ways)]
    rows = [as_row(one, found[0]) for one in found]
    print(f"{'':<26}{'time':>8}{'CPU':>9}  speed-up  efficiency  same bytes")
    for row in rows:
        spent = f"{row['seconds']:>7.0f}s{row['processor_seconds']:>8.0f}s"
        same = "yes" if row["same_bytes"] else "no"
        print(f"{row['name']:<26}{spent}{row['speed_up']:>10.2f}{row['efficiency']:>12.0%}  {same}")
    if asked.together:
        alone, both = found
        print(f"two take {both.processor_seconds / alone.processor_seconds:.2f}x the CPU of one")
    for one in found:
        if one.workers:
            print(f"processor time of each of {one.workers} workers: {one.of_workers}")
    (asked.out / "speed_up.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
