"""What several workers gain: a quick run of `tiny`, one process against two workers and four."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from workers.__main__ import WAYS, Measured, as_row, measure, options_of


def test_workers(benchmark: BenchmarkFixture, pytestconfig: pytest.Config, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs dorib[cluster]")
    options = [*options_of(full=False), "--suite", pytestconfig.getoption("--suite")]
    found: list[Measured] = []

    def run() -> None:
        found.extend(measure(way, options, tmp_path / name) for name, way in WAYS.items())

    benchmark.pedantic(run, rounds=1)
    assert len({one.digest for one in found if one.threads == 1}) == 1
    benchmark.extra_info |= {"ways": [as_row(one, found[0]) for one in found]}
