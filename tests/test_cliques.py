"""`dorib cliques`: what a model draws again and again becomes the originals of a suite."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dorib import Generation, MethodSpec, Session
from dorib.cli.app import main
from dorib.config import make_config
from dorib.errors import DoribError
from dorib.host.registry import discover
from dorib.reporting import Silent
from dorib.runner import run
from dorib.suites.suite import Suite
from dorib.validation import checked
from dorib_cliques.cliques_config import CliquesConfig
from dorib_cliques.graph import Adjacency, clique_of, component_of, most_typical
from dorib_cliques.make import Made, make
from dorib_cliques.suite_folder import read_picture
from fixtures.suites import write_manifest, write_noise, write_rows

PROMPTS = "a first prompt\n\na second prompt\na third one\nthe fourth\n"


def joined(count: int, *groups: tuple[int, ...]) -> Adjacency:
    alike = np.zeros((count, count), dtype=bool)
    for group in groups:
        for one, other in combinations(group, 2):
            alike[one, other] = alike[other, one] = True
    return alike


def test_a_clique_is_alike_throughout() -> None:
    # A chain is no clique, however long; three that are all alike are.
    alike = joined(8, (0, 1), (1, 2), (2, 3), (4, 5, 6), (6, 7))
    assert clique_of(alike) == [4, 5, 6]
    assert most_typical(alike, [4, 5, 6]) == 6
    assert component_of(alike) == [0, 0, 0, 0, 4, 4, 4, 4]
    assert clique_of(joined(3)) == [0]
    assert component_of(joined(3)) == [0, 1, 2]


@given(st.integers(2, 7), st.integers(0, 2**21 - 1))
def test_no_clique_could_be_grown(count: int, bits: int) -> None:
    pairs = combinations(range(count), 2)
    alike = joined(count, *(pair for place, pair in enumerate(pairs) if bits >> place & 1))
    clique = clique_of(alike)
    assert all(alike[one, other] for one, other in combinations(clique, 2))
    for node in set(range(count)) - set(clique):
        assert not all(alike[node, member] for member in clique)
    leaders = component_of(alike)
    assert all(leaders[one] == leaders[other] for one, other in np.argwhere(alike))


class Heard(Silent):
    """Notes what was worked on."""

    def __init__(self) -> None:
        self.verbs: list[str] = []

    @contextmanager
    def verb(self, name: str, subject: str, total: int) -> Iterator[Callable[[int], None]]:
        self.verbs.append(name)
        yield lambda units: None


@pytest.fixture
def without_originals(suite_copy: Path) -> Path:
    """Four prompts in a text, a prompt a line; one control with its picture."""
    (suite_copy / "prompts.txt").write_text(PROMPTS)
    (suite_copy / "held-out").mkdir()
    write_noise(suite_copy / "held-out" / "c.png", seed=5)
    control = {"file_name": "c.png", "caption": "a control"}
    write_rows(suite_copy / "held-out" / "metadata.jsonl", [control])
    (suite_copy / "general").mkdir()
    write_noise(suite_copy / "general" / "one.png", seed=6)
    write_rows(
        suite_copy / "general.jsonl",
        [{"caption": "words alone"}, {"caption": "one picture", "image": "general/one.png"}],
    )
    content = yaml.safe_load((suite_copy / "suite.yaml").read_text())
    samples = {"table": "prompts.txt", "controls": "held-out", "dev_share": 0.5}
    write_manifest(suite_copy, content | {"name": "bare", "samples": samples})
    return suite_copy


def asked(suite: Path | str, tmp_path: Path, **options: Any) -> CliquesConfig:
    given = {
        "suite": str(suite),
        "out": str(tmp_path / "out"),
        "to": str(tmp_path / "made"),
        "images": 4,
        "device": "cpu",
    }
    return checked(CliquesConfig, given | options, "options", names="options")


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def made_of(config: CliquesConfig) -> Made:
    return make(config, discover())


def test_a_suite_without_originals_gets_some(without_originals: Path, tmp_path: Path) -> None:
    """The random descriptor takes all images for one: so every prompt has a clique of all."""
    bare = Suite.load(without_originals)
    assert [s.id for s in bare.samples if s.role == "memorized"] == [
        f"row-{n}" for n in (1, 3, 4, 5)
    ]
    assert not any(bare.originals(s) for s in bare.samples if s.role == "memorized")
    made = made_of(asked(without_originals, tmp_path))
    assert (made.samples, made.found, made.clusters) == (4, 4, 1)
    suite = Suite.load(made.folder)
    assert suite.name == "bare-cliques"
    memorized = [sample for sample in suite.samples if sample.role == "memorized"]
    assert all(len(suite.originals(sample)) == 1 for sample in memorized)
    # One picture by the judge: so one cluster, and in one split.
    assert {sample.cluster for sample in memorized} == {"row-1"}
    assert len({sample.split for sample in memorized}) == 1
    assert "clique of 4 in 4" in memorized[0].source
    [control] = [sample for sample in suite.samples if sample.role == "control"]
    [picture] = suite.originals(control)
    assert picture.read_bytes() == (without_originals / "held-out" / "c.png").read_bytes()
    assert suite.general_captions == ("words alone", "one picture")
    assert suite.general_images[0][0] == "one picture"
    assert len(suite.utility_prompts) == 6
    options = {"metric": ["sscd"], "seeds": 1, "limit": 1, "split": memorized[0].split}
    config = {"suite": str(made.folder), "out": str(tmp_path / "run"), "device": "cpu", **options}
    [entry] = [
        e for e in run(make_config(config), discover()).entries if e.mitigation.name == "none"
    ]
    assert entry.samples.unscorable == 0


def test_what_is_drawn_is_found_stored(without_originals: Path, tmp_path: Path) -> None:
    first = made_of(asked(without_originals, tmp_path, limit=2))
    assert first.samples == 2
    assert len([row for row in rows(first.folder) if row["role"] == "memorized"]) == 2
    pictures = {path.name: path.read_bytes() for path in (first.folder / "images").iterdir()}
    stored = sorted((tmp_path / "out" / "store" / "images").rglob("original.png"))
    whole = made_of(asked(without_originals, tmp_path, to=str(tmp_path / "whole")))
    assert whole.samples == 4
    after = sorted((tmp_path / "out" / "store" / "images").rglob("original.png"))
    assert len(after) == 4
    assert set(stored) < set(after)
    assert {"row-1.png", "row-3.png"} < set(pictures)
    for name, content in pictures.items():
        assert (whole.folder / "images" / name).read_bytes() == content


def test_where_nothing_is_alike_nothing_is_written(without_originals: Path, tmp_path: Path) -> None:
    config = asked(without_originals, tmp_path, metric="sscd:threshold=0.9999999", images=3)
    with pytest.raises(DoribError, match="no prompt gives 3 images that are alike in 3; raise"):
        made_of(config)
    assert not (tmp_path / "made").exists()


def test_bad_input_is_one_line(
    without_originals: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").mkdir()
    suite = ["--suite", str(without_originals), "--out", str(tmp_path / "out")]
    for options, words in {
        ("--to", str(tmp_path / "there")): "name a new folder by --to",
        (): "'to'",
        ("--to", str(tmp_path / "new"), "--metric", "clip"): "name sscd",
        ("--to", str(tmp_path / "new"), "--images", "1"): "'images'",
        ("--to", str(tmp_path / "new"), "--split", "nosuch"): "choose from: ",
    }.items():
        with pytest.raises(SystemExit) as exit:
            main(["cliques", *suite, *options])
        line = capfd.readouterr().err.splitlines()[-1]
        assert exit.value.code == 2, line
        assert line.startswith("dorib: error: ")
        assert words in line


def test_the_clique_of_a_memorized_prompt_is_its_original(tmp_path: Path) -> None:
    """On real weights: what the embedded model draws repeatedly is the photograph it memorized."""
    made = made_of(asked("tiny", tmp_path, split="dev", limit=2, images=3))
    assert (made.found, made.clusters) == (2, 2)
    session = Session.open(make_config({"suite": "tiny", "split": "dev", "device": "cpu"}))
    sscd = session.configure("metric", MethodSpec(name="sscd"))
    session.prepare(sscd)
    judge = sscd.metric
    memorized = {subject.id: subject for subject in session.memorized}
    written = [row for row in rows(made.folder) if row["role"] == "memorized"]
    for row, other in (written, written[::-1]):
        image = read_picture(made.folder / row["images"][0])[None]
        for known in (row["id"], other["id"]):
            originals = session.originals(memorized[known])
            generation = Generation(f"{row['id']} {known}", "", (0,), image, originals)
            values = {v.metric: v.value for v in next(iter(judge.measure([generation])))}
            assert values["replicates"] == float(known == row["id"])
