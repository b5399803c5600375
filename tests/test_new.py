"""`dorib new`: packages that install, pass their own tests, and run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dorib.errors import DoribError
from dorib.host.registry import discover
from dorib.testing.scaffold import kinds, write_package

MAIN = "from dorib.cli.app import main; main()"
# Of a kind, and what `dorib run` is told beside the suite.
RUNS = {
    "mitigation": ["--mitigation", "mine", "--metric", "clip"],
    "attack": ["--attack", "mine", "--metric", "clip"],
    "rule": ["--mitigation", "mine", "--metric", "clip"],
    "metric": ["--metric", "mine"],
    "probe": ["--probe", "mine", "--metric", "clip"],
    "suite": ["--metric", "clip"],
}
REDUCED = ("described", "cheap", "public", "works")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for installed packages."""
    return tmp_path_factory.mktemp("site")


def in_a_process(site: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(arguments, env=environment, cwd=cwd, capture_output=True, text=True)


def made(kind: str, folder: Path, site: Path) -> Path:
    """The package, written and installed."""
    package = write_package(kind, "mine", folder / "dorib-mine", discover())
    options = ["--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(site)]
    subprocess.run([*command, str(package)], check=True, capture_output=True)
    return package


@pytest.mark.parametrize("form", ["reduced", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", RUNS)
def test_from_nothing_to_a_result(kind: str, form: str, tmp_path: Path) -> None:
    site = tmp_path / "site"
    package = made(kind, tmp_path, site)
    chosen = ["-k", " or ".join((*REDUCED, "it_can"))] if form == "reduced" else []
    tested = in_a_process(site, sys.executable, "-m", "pytest", "-q", "tests", *chosen, cwd=package)
    assert tested.returncode == 0, tested.stdout
    assert "passed" in tested.stdout
    if form == "full":
        checked = in_a_process(site, sys.executable, "-c", MAIN, "check", "mine", cwd=tmp_path)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert "keeps all rules" in checked.stdout
    suite = "mine" if kind == "suite" else str(random_suite(tmp_path))
    run = in_a_process(
        site,
        *[sys.executable, "-c", MAIN, "run", "--suite", suite, "--limit", "1", "--seeds", "1"],
        *["--budgets", "96", "--out", "out", *RUNS[kind]],
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out" / "leaderboard.json").exists()


def random_suite(folder: Path) -> Path:
    from dorib.testing.suites import save_random_suite

    (folder / "suite").mkdir()
    return save_random_suite(folder / "suite")


def test_there_is_an_example_of_each_kind() -> None:
    assert kinds() == sorted(RUNS)


def test_nothing_of_the_example_s_name_is_left(tmp_path: Path) -> None:
    for kind in kinds():
        package = write_package(kind, "my-own", tmp_path / kind, discover())
        for path in package.rglob("*"):
            assert "example" not in path.name
            if path.is_file() and path.suffix != ".png":
                text = path.read_text().lower()
                assert "example" not in text.replace("for example", "")
                assert "embedded/" not in text


@pytest.mark.parametrize(
    ("kind", "name", "complaint"),
    [
        ("attack", "dori", "attack 'dori' is plugin dori's; take another name"),
        ("attack", "My Attack", "a name is lower-case letters"),
        ("attack", "../up", "a name is lower-case letters"),
        ("attack", "3d", "begins with a letter"),
        ("dance", "mine", "no example of 'dance'; choose from: attack, metric"),
    ],
)
def test_bad_names_are_refused(kind: str, name: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(DoribError, match=complaint):
        write_package(kind, name, tmp_path / "new", discover())
    assert not any(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(DoribError, match="is there already"):
        write_package("attack", "mine", tmp_path / "there", discover())
    shutil.rmtree(tmp_path / "there")
    write_package("attack", "mine", tmp_path / "there", discover())


PLUGIN = """
from dorib import Edit, Mitigation, Params, Register, hookimpl

dorib_contract = 2

class Nothing(Mitigation[Params]):
    def fit(self, model, view, seeds, ledger):
        return Edit(None)

@hookimpl
def register_mitigations(register: Register) -> None:
    register("nothing", f"{__name__}:Nothing", summary="does nothing")
"""

TYPO = """
from dorib import hookimpl

dorib_contract = 2

@hookimpl
def register_mitigation(register):
    register("nothing", f"{__name__}:Nothing")
"""


def test_a_plugin_may_be_one_file(tmp_path: Path) -> None:
    file = tmp_path / "does_nothing.py"
    file.write_text(PLUGIN)
    suite = random_suite(tmp_path)
    common = ["--plugin", str(file)]
    command = [sys.executable, "-c", MAIN, "plugins", "mitigation", *common]
    assert "does nothing" in in_a_process(tmp_path, *command, cwd=tmp_path).stdout
    run = in_a_process(
        tmp_path,
        *[sys.executable, "-c", MAIN, "run", "--suite", str(suite), "--limit", "1"],
        *["--mitigation", "nothing", "--metric", "clip", "--out", "out", *common],
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert "nothing" in run.stdout


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("absent.py", None, "no such file"),
        ("no-module.py", "", "no name for a plugin"),
        ("json.py", "", "there is a module json already"),
        ("broken.py", "1 / 0", "cannot be imported (ZeroDivisionError"),
        ("old.py", "dorib_contract = 1", "built for contract 1, this is contract 2"),
        ("none.py", "x = 1", "names no contract: write `dorib_contract = 2`"),
        ("package", None, "a package, and no single file"),
        ("__init__.py", "", "a package, and no single file"),
        ("typo.py", TYPO, "there is no hook register_mitigation (did you mean"),
    ],
)
def test_a_file_that_is_no_plugin_is_refused(
    name: str, text: str | None, complaint: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    elif not file.suffix:
        file.mkdir()
    with pytest.raises(DoribError) as refusal:
        discover(files=[file])
    assert complaint in str(refusal.value)
    assert str(file) in str(refusal.value)
