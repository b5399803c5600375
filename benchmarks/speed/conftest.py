"""Speed benchmarks: what the harness costs on top of the model. `make bench` runs them.

`--suite` measures on another suite than the embedded one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dorib.config import RunConfig
from dorib.errors import DoribError
from dorib.host.registry import Registry, discover
from dorib.store.store import Store
from dorib.suites.suite import load_suite
from dorib.verbs.context import RunContext

BATCH = 8


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--suite", default="tiny", help="a registered suite or a suite folder")


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    machine_info |= {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


@pytest.fixture(scope="session")
def registry() -> Registry:
    return discover()


@pytest.fixture
def context(pytestconfig: pytest.Config, registry: Registry, tmp_path: Path) -> RunContext:
    """A run over the suite's test split, in batches of eight, its store in a folder of its own."""
    name = pytestconfig.getoption("--suite")
    try:
        suite = load_suite(name, registry)
    except DoribError as error:
        pytest.skip(f"no suite to measure on: {error}")
    config = RunConfig(suite=name, out=tmp_path, batch_size=BATCH, device="cpu")
    return RunContext(suite, config, suite.manifest.full, Store(tmp_path / "store"))


@pytest.fixture(autouse=True)
def warm() -> Iterator[None]:
    """The first convolution pays for the thread pool, whoever calls it."""
    torch.nn.functional.conv2d(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 3, 3))
    yield
