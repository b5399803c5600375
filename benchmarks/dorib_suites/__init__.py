"""The suites that dorib ships: their data, their weights and the recipe that made them."""

from __future__ import annotations

from pathlib import Path

from dorib import RegisterSuite, hookimpl

dorib_contract = 1


@hookimpl
def register_suites(register: RegisterSuite) -> None:
    """Register the embedded suite."""
    register(
        "tiny",
        Path(__file__).parent / "tiny" / "suite",
        summary="a small model that memorized real photographs; runs on two cores",
    )
