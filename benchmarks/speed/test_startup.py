"""How long the command line takes to answer."""

from __future__ import annotations

import subprocess
import sys
import time

from pytest_benchmark.fixture import BenchmarkFixture

LONGEST_SECONDS = 0.4
HELP = "import sys; sys.argv = ['dorib', '--help']; from dorib.cli.app import main; main()"


def run(program: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def test_help(benchmark: BenchmarkFixture) -> None:
    bare = min(run("pass") for _ in range(5))
    benchmark.pedantic(run, args=(HELP,), rounds=7, warmup_rounds=1)
    quickest = benchmark.stats.stats.min
    benchmark.extra_info |= {"bare_seconds": bare, "seconds": quickest}
    print(f"\ndorib --help: {quickest:.2f} s, python -c pass: {bare:.2f} s")
    assert quickest <= LONGEST_SECONDS
