"""How long a command takes to its first picture, and how much memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from dorib.errors import DoribError
from dorib.host.registry import Registry
from dorib.suites.suite import load_suite

POLL_SECONDS = 0.02


def test_first_image(
    benchmark: BenchmarkFixture, pytestconfig: pytest.Config, registry: Registry, tmp_path: Path
) -> None:
    suite = pytestconfig.getoption("--suite")
    try:
        load_suite(suite, registry)
    except DoribError as error:
        pytest.skip(f"no suite to measure on: {error}")
    options = ["--suite", suite, "--device", "cpu", "--limit", "1", "--seeds", "1"]
    command = [sys.executable, "-m", "dorib", "run", *options, "--out", str(tmp_path)]
    found: dict[str, float] = {}

    def run() -> None:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        status, usage = 0, None
        while usage is None:
            time.sleep(POLL_SECONDS)
            if "seconds" not in found and any((tmp_path / "store").rglob("*.png")):
                found["seconds"] = time.perf_counter() - begin
                spent = psutil.Process(process.pid).cpu_times()
                found["processor_seconds"] = spent.user + spent.system
            ended, status, ended_usage = os.wait4(process.pid, os.WNOHANG)
            usage = ended_usage if ended else None
        assert os.waitstatus_to_exitcode(status) == 0
        found["whole_seconds"] = time.perf_counter() - begin
        found["whole_processor_seconds"] = usage.ru_utime + usage.ru_stime
        kibibytes = usage.ru_maxrss / 1024 if sys.platform == "darwin" else usage.ru_maxrss
        found["peak_gib"] = kibibytes / 2**20

    benchmark.pedantic(run, rounds=1)
    benchmark.extra_info |= found
    print(f"\nfirst picture after {found['seconds']:.1f} s, {found['peak_gib']:.2f} GiB")
