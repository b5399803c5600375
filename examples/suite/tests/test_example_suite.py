"""The suite can be read and run."""

from pathlib import Path

import dorib


def test_it_can_be_read() -> None:
    """Every sample has an original."""
    suite = dorib.load_suite("example-suite")
    roles = {sample.role for sample in suite.split("test")}
    assert roles == {"memorized", "control"}
    assert all(suite.originals(sample) for sample in suite.split("test"))


def test_it_can_be_run(tmp_path: Path) -> None:
    """One sample, unmitigated."""
    result = dorib.run(
        suite="example-suite", mitigation="none", attack="none", limit=1, seeds=1, out=tmp_path
    )
    assert result.entries
