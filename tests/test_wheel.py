"""The wheel, unpacked away from the checkout, is complete and runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
MAIN = "from dorib.cli.app import main; main()"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that holds the wheel and nothing else."""
    built = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = built.glob("dorib-*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(built / "site")
    return built / "site"


def dorib(site: Path, folder: Path, *arguments: str) -> str:
    """What `dorib` prints when it is run in `folder` from the wheel."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_recipe_s_intermediate_weights_stay_out_of_the_wheel(site: Path) -> None:
    assert (site / "dorib_suites" / "tiny" / "suite").is_dir()
    assert not (site / "dorib_suites" / "tiny" / "stages").exists()


def test_packages_come_from_the_wheel(site: Path, tmp_path: Path) -> None:
    program = "import dorib, dorib_suites, dorib_wanda as w; print(dorib.__file__, w.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(path.startswith(str(site)) for path in done.stdout.split())


def test_every_plugin_is_found(site: Path, tmp_path: Path) -> None:
    listed = json.loads(dorib(site, tmp_path, "plugins", "--json"))
    assert listed["broken"] == []


def test_the_suites_are_found(site: Path, tmp_path: Path) -> None:
    suites = {
        suite["name"]: suite for suite in json.loads(dorib(site, tmp_path, "suites", "--json"))
    }
    assert list(suites) == ["sd14", "sd14-vm", "sd2", "sd2-mem219", "tiny"]
    assert suites["tiny"]["error"] is None
    presets = site / "dorib" / "presets"
    assert {path.name for path in presets.glob("*.yaml")} == {"finding-dori.yaml", "tiny.yaml"}


def test_two_samples_run_and_have_a_page(
    site: Path, tmp_path: Path, tiny_suite_folder: Path
) -> None:
    dorib(
        site,
        tmp_path,
        *("run", "--suite", str(tiny_suite_folder), "--limit", "2"),
        *("--mitigation", "wanda:sparsity=0.1", "--attack", "dori", "--out", "out"),
    )
    assert list((tmp_path / "out").rglob("*.json"))
    dorib(site, tmp_path, "site", "out")
    assert "<h1>" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.slow
def test_two_samples_of_the_embedded_suite_run(site: Path, tmp_path: Path) -> None:
    dorib(site, tmp_path, "run", "--limit", "2", "--mitigation", "wanda", "--out", "out")
    assert list((tmp_path / "out").rglob("*.json"))
