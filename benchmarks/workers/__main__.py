"""Two workers against one process: time, processor time, and whether the bytes are the same.

`python -m workers --out FOLDER` from `benchmarks`, on a machine that does nothing else. `--small`
is a run of seconds on a random suite. Each way starts from nothing, one after another.
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
from dataclasses import asdict, dataclass
from pathlib import Path

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
    options: tuple[str, ...] = ()


WAYS = (
    Way("one process, 1 thread", 1),
    Way("one process, 2 threads", 2),
    Way("2 workers, 1 thread each", 1, ("--workers", "2")),
)


@dataclass(frozen=True)
class Measured:
    """What one run took."""

    name: str
    seconds: float
    processor_seconds: float
    """User and system time of the command and all processes that it started."""
    of_workers: list[float]
    """The same of each worker."""
    digest: str
    """Of all that was left, pictures for readers apart."""


def measure(way: Way, options: Sequence[str], out: Path) -> Measured:
    """Run once, into a folder that is not there yet."""
    command = [sys.executable, "-m", "dorib", "run", *options, "--out", str(out), *way.options]
    environment = {**os.environ, "OMP_NUM_THREADS": str(way.threads)}
    begin = time.monotonic()
    spent: dict[int, float] = {}
    workers: set[int] = set()
    with subprocess.Popen(command, env=environment) as run:
        while run.poll() is None:
            time.sleep(POLL_SECONDS)
            _sample(run.pid, spent, workers)
    if run.returncode:
        raise SystemExit(f"{way.name}: ended with {run.returncode}")
    seconds = time.monotonic() - begin
    of_workers = [round(spent[process], 1) for process in sorted(workers)]
    return Measured(way.name, seconds, sum(spent.values()), of_workers, digest_of(out))


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
    """Of every file by place and content, pictures for readers left out."""
    total = hashlib.sha256()
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        place = path.relative_to(out).as_posix()
        if not place.startswith("pictures"):
            total.update(f"{place} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def main() -> None:
    """Measure all ways, print a table and write `speed_up.json`."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="an empty folder for the runs")
    parser.add_argument("--mitigation", action="append", help=f"default: {', '.join(MITIGATIONS)}")
    parser.add_argument("--attack", action="append", help=f"default: {', '.join(ATTACKS)}")
    parser.add_argument("--quick", action="store_true", help="the suite's quick profile")
    parser.add_argument("--small", action="store_true", help="a random suite, for a trial")
    asked = parser.parse_args()
    options = ["--device", "cpu", "--quick" if asked.quick else "--full"]
    for kind, default in (("mitigation", MITIGATIONS), ("attack", ATTACKS)):
        for method in getattr(asked, kind) or default:
            options += [f"--{kind}", method]
    if asked.small:
        from dorib.testing.suites import save_random_suite

        options += ["--suite", str(save_random_suite(asked.out / "suite")), *SMALL]
    found = [measure(way, options, asked.out / f"run-{n}") for n, way in enumerate(WAYS)]
    alone, threads, shared = found
    print(f"{'':<26}{'time':>8}{'CPU':>9}  speed-up  same bytes")
    for one in found:
        same = "yes" if one.digest == alone.digest else "no"
        ratio = alone.seconds / one.seconds
        spent = f"{one.seconds:>7.0f}s{one.processor_seconds:>8.0f}s"
        print(f"{one.name:<26}{spent}{ratio:>10.2f}  {same}")
    print(f"processor time of each worker: {shared.of_workers}")
    print(f"two workers are {threads.seconds / shared.seconds:.2f}x two threads")
    text = json.dumps([asdict(one) for one in found], indent=2) + "\n"
    (asked.out / "speed_up.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
