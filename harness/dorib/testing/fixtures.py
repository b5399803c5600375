"""Fixtures for authors' tests, found by pytest once dorib is installed."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def random_suite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A suite on a random Stable Diffusion 1.x pipeline in miniature: its folder."""
    from dorib.testing.suites import save_random_suite

    return str(save_random_suite(tmp_path_factory.mktemp("random-suite")))


@pytest.fixture(scope="session")
def random_sdxl_suite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A suite on a random SDXL pipeline in miniature: its folder."""
    from dorib.testing.suites import save_random_suite

    folder = tmp_path_factory.mktemp("random-sdxl-suite")
    return str(save_random_suite(folder, "sdxl", "epsilon"))


@pytest.fixture(scope="session")
def tiny_suite() -> str:
    """The embedded suite, by its name."""
    return "tiny"
