"""How long the command line takes to answer."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

from pytest_benchmark.fixture import BenchmarkFixture

HELP = "import sys; sys.argv = ['dorib', '--help']; from dorib.cli.app import main; main()"


def run(program: str, expected: str = "") -> float:
    """Seconds that a program takes which prints what is `expected` of it."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True
    )
    seconds = time.perf_counter() - start
    assert expected in done.stdout
    return seconds


def test_help_with_the_commands_of_plugins(benchmark: BenchmarkFixture) -> None:
    bare = min(run("pass") for _ in range(5))
    processor_seconds = []

    def help_shown() -> None:
        started = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(HELP, "locality")
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor_seconds.append(
            ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime
        )

    benchmark.pedantic(help_shown, rounds=7, warmup_rounds=1)
    quickest = benchmark.stats.stats.min
    benchmark.extra_info |= {
        "bare_seconds": bare,
        "seconds": quickest,
        "processor_seconds": min(processor_seconds),
    }
    print(f"\ndorib --help: {quickest:.2f} s, python -c pass: {bare:.2f} s")
