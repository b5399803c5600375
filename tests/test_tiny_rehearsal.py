"""The embedded suite's whole recipe with a thousandth of its steps, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dorib.host.registry import discover
from dorib.store.fingerprint import file_digest
from dorib.suites.suite import Suite, load_suite
from dorib_suites.tiny.photographs import FIFTH
from dorib_suites.tiny.samples import suite_samples

SHORTEN = "1000"
SECOND = "second-descriptor/model.safetensors"


def recipe(work: Path, shorten: str = SHORTEN) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dorib_suites.tiny.train", "--shorten", shorten, "--work", work],
        capture_output=True,
        text=True,
    )


def weights(folder: Path) -> dict[str, str]:
    files = folder.rglob("*.safetensors")
    return {str(path.relative_to(folder)): file_digest(path) for path in files}


@pytest.mark.slow
def test_one_command_makes_the_whole_suite_and_goes_on_where_it_was(tmp_path: Path) -> None:
    done = recipe(tmp_path)
    assert done.returncode == 0, done.stderr
    suite, shipped = Suite.load(tmp_path / "suite"), load_suite("tiny", discover())
    wanted_samples = {s.id: (s.role, s.split, s.duplication) for s in suite_samples(FIFTH)}
    assert {s.id: (s.role, s.split, s.duplication) for s in suite.samples} == wanted_samples
    made, wanted = weights(suite.root), weights(shipped.root)
    # The second judge's network is ImageNet's, and its map was fitted once: none is trained here.
    second = made.pop(SECOND)
    wanted.pop(SECOND, None)
    assert made.keys() == wanted.keys()
    assert not set(made.values()) & set(wanted.values())
    assert suite.second_descriptor is not None
    trained = json.loads((suite.root / "trainings.json").read_text())
    for fork in ("memorizing", "oracle", "oracle-2", "oracle-3"):
        assert trained[f"{fork}-unet"]["steps"] == "3"
        assert trained[f"{fork}-unet-settle"]["steps"] == "5"
    card = (suite.root / "README.md").read_text()
    titles = {line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")}
    assert titles >= {"Samples", "Acceptance", "Survival under Dori", "Trainings", "Licences"}
    assert all(digest in card for digest in (*made.values(), second))

    # As if it had been stopped after the first oracle's first cycle.
    for lost in ("oracle-unet-settle", "oracle-2-unet", "oracle-2-unet-settle"):
        (tmp_path / f"{lost}.safetensors").unlink()
    again = recipe(tmp_path)
    assert again.returncode == 0, again.stderr
    assert "memorizing-unet" not in again.stdout
    assert weights(suite.root) == made | {SECOND: second}

    other = recipe(tmp_path, shorten="500")
    assert other.returncode == 2
    *_, last = other.stderr.splitlines()
    assert last.startswith("error: ") and "is a training of 4 steps, where 9 are asked" in last
