"""A private split: dealt anew from a suite's pool by a seed, and run like any other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dorib.config import make_config
from dorib.errors import DoribError
from dorib.host.registry import discover
from dorib.runner import run
from dorib.suites.suite import Suite, load_suite
from dorib_suites.tiny.private_split import dealt_anew, write_private_suite


def test_the_embedded_suite_s_is_dealt_from_dev_and_test_by_the_seed() -> None:
    suite = load_suite("tiny", discover())
    roles = {sample.id: sample.role for sample in suite.samples}
    own = {sample.id: sample.split for sample in suite.samples}
    deals = [dealt_anew(suite, seed) for seed in (1, 1, 2)]
    assert deals[0] == deals[1] != deals[2]
    for splits in deals:
        counts = Counter((split, roles[sample]) for sample, split in splits.items())
        assert set(counts.values()) == {16} and {split for split, _ in counts} == {"private", "dev"}
        assert {own[sample] for sample in splits} == {"dev", "test"}


def test_it_is_a_suite_of_its_own_that_runs(tiny_suite_folder: Path, tmp_path: Path) -> None:
    suite = Suite.load(tiny_suite_folder)
    private = write_private_suite(suite, 7, tmp_path / "private", each=2)
    assert private.name == "random-private" and private.digest() != suite.digest()
    assert Counter(s.role for s in private.split("private")) == {"memorized": 2, "control": 2}
    weights = [path.relative_to(private.root) for path in private.root.rglob("*.safetensors")]
    assert weights
    for name in weights:
        assert (private.root / name).samefile(tiny_suite_folder / name)
    assert not (private.root / "suite.yaml").samefile(tiny_suite_folder / "suite.yaml")
    options = {"suite": str(private.root), "split": "private", "out": str(tmp_path / "out")}
    smallest = {"limit": 1, "seeds": 1, "mitigation": ["none"], "attack": ["none"]}
    [entry, *_] = run(make_config({**options, **smallest}), discover()).entries
    assert entry.split == "private" and entry.suite.digest == private.digest()


def test_the_seed_is_written_nowhere(tiny_suite_folder: Path, tmp_path: Path) -> None:
    seed = 918273645546372819
    to = tmp_path / "private"
    arguments = ["--seed", str(seed), "--to", str(to), "--suite", str(tiny_suite_folder)]
    command = [sys.executable, "-m", "dorib_suites.tiny.private_split", *arguments, "--each", "2"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert Suite.load(to).digest() in done.stdout
    texts = [path for path in to.rglob("*") if path.suffix in (".json", ".jsonl", ".yaml", ".md")]
    assert texts and not any(str(seed) in path.read_text() for path in texts)
    rows = [json.loads(line) for line in (to / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == len(Suite.load(tiny_suite_folder).samples)


@pytest.mark.parametrize(
    ("seed", "each", "said"),
    [(-1, 2, "--seed -1"), (1, 0, "--each 0"), (1, 9, "too few for 9")],
)
def test_what_cannot_be_dealt_is_refused_and_leaves_nothing(
    seed: int, each: int, said: str, tiny_suite_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(DoribError, match=said):
        write_private_suite(Suite.load(tiny_suite_folder), seed, tmp_path / "private", each)
    assert not list(tmp_path.iterdir())
    (tmp_path / "private").mkdir()
    with pytest.raises(DoribError, match="is there already"):
        write_private_suite(Suite.load(tiny_suite_folder), 1, tmp_path / "private", 2)
