"""Packages of a third party with commands of their own, built and installed as users would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dorib.contracts.registration import BUILT_IN_COMMANDS

SOURCES = Path(__file__).parent / "third_party"
MAIN = "from dorib.cli.app import main; main()"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that both packages are installed in, by pip and without a network."""
    folder = tmp_path_factory.mktemp("third_party")
    sources = Path(shutil.copytree(SOURCES, folder / "sources"))
    options = ["--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "site")]
    packages = sorted(str(path.parent) for path in sources.glob("*/pyproject.toml"))
    subprocess.run([*command, *packages], check=True, capture_output=True)
    return folder / "site"


def dorib(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`dorib` where the packages are installed beside it."""
    return subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )


def commands_of(printed: str) -> dict[str, str]:
    """Names and summaries in the help of `dorib`."""
    lines = printed.partition("Commands:\n")[2].splitlines()
    return {line.split()[0]: " ".join(line.split()[1:]) for line in lines}


def test_its_command_is_in_the_help(site: Path) -> None:
    listed = commands_of(dorib(site, "--help").stdout)
    assert listed["words"] == "Count the words of a suite's captions."


def test_its_command_is_among_the_plugins(site: Path) -> None:
    listing = json.loads(dorib(site, "plugins", "--json").stdout)
    [words] = [one for one in listing["registered"] if one["name"] == "words"]
    assert (words["kind"], words["plugin"]) == ("command", "words")
    named = dorib(site, "plugins", "command").stdout
    assert "words words Count the words" in " ".join(named.split())
    [plugin] = [one for one in listing["plugins"] if one["name"] == "words"]
    assert (plugin["source"], plugin["hooks"]) == ("dorib-words", ["commands"])


def test_its_command_runs(site: Path, tiny_suite_folder: Path) -> None:
    done = dorib(site, "words", "--suite", str(tiny_suite_folder), "--limit", "1")
    assert (done.returncode, done.stderr) == (0, "")
    sample, words = done.stdout.split()
    assert sample == "test-memorized-0"
    assert int(words) > 0
    assert (
        "Count the words of the memorized samples' captions."
        in dorib(site, "words", "--help").stdout
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--suite", "nosuch"], "dorib: error: unknown suite 'nosuch'"),
        (["--budgets", "3,2"], "dorib: error: command line: 'budgets': budgets must be positive"),
        (["--aloud"], "dorib: error: No such option: --aloud"),
    ],
)
def test_its_command_fails_in_one_line(site: Path, arguments: list[str], said: str) -> None:
    done = dorib(site, "words", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(said), done.stderr
    assert done.stderr.count("\n") == 1


def test_what_is_taken_stays_with_its_owner(site: Path) -> None:
    listing = json.loads(dorib(site, "plugins", "--json").stdout)
    assert [one["reason"] for one in listing["broken"] if one["plugin"] == "aaa"] == [
        "command 'run' is one of dorib's own",
        "command 'locality' is already registered by plugin locality",
    ]
    listed = commands_of(dorib(site, "--help").stdout)
    assert "Seized." not in listed.values()
    commands = ["cliques", "locality", "meta", "seize", "sscd-agreement", "words"]
    assert [*listed] == [*BUILT_IN_COMMANDS, *commands]
    assert "Score mitigations" in dorib(site, "run", "--help").stdout
    # The name that was free is its own.
    assert dorib(site, "seize").stdout == "seized\n"
