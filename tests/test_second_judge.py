"""A suite's second descriptor judges beside the first, in every record, and decides nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dorib import DoribError, Generation, Suite
from dorib.cli.app import BAD_INPUT, main
from dorib.config import make_config
from dorib.host.registry import Registry, discover
from dorib.ranking.records import read_records
from dorib.report.site.boards import read_board
from dorib.runner import run
from dorib.suites.suite import load_suite
from dorib.suites.view import suite_view
from dorib_sscd import SscdParams
from dorib_sscd.metric import Sscd
from dorib_suites.tiny.second_descriptor import second_judge
from dorib_suites.tiny.views import describe, describe_views, similarity
from fixtures.suites import SIDE, add_second_descriptor, write_manifest

THRESHOLD = 0.97
"""High, since to this judge all noise is much alike; an image is at 1 with itself."""


@pytest.fixture(scope="module")
def folder(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("second") / "suite"
    shutil.copytree(tiny_suite_folder, copy)
    add_second_descriptor(copy, THRESHOLD)
    return copy


def prepared(suite: Suite, **params: Any) -> Sscd:
    metric = Sscd(SscdParams(**params))
    metric.prepare(suite_view(suite), torch.device("cpu"))
    return metric


def shown(originals: int = 1) -> Generation:
    """Two copies and two others; eight-bit values, as pictures are read."""
    generator = torch.Generator().manual_seed(3)
    pictures = torch.randint(256, (5, 3, SIDE, SIDE), generator=generator) / 255
    images = torch.cat([pictures[:1], pictures[:1].flip(1), pictures[1:3]])
    return Generation("s", "", (0, 1, 2, 3), images, pictures[: 4 * originals : 4], twins=images)


def judged(metric: Sscd, generation: Generation) -> dict[str, list[float]]:
    (values,) = metric.measure([generation])
    table: dict[str, list[float]] = {}
    for value in values:
        table.setdefault(value.metric, []).append(value.value)
    return table


def test_every_image_has_both_likenesses_and_both_verdicts(folder: Path) -> None:
    generation = shown()
    found = judged(prepared(Suite.load(folder)), generation)
    pixels, originals = (
        (255 * images).round().to(torch.uint8)
        for images in (generation.images, generation.originals)
    )
    judge = second_judge()
    seen = describe_views(judge, originals).expand(-1, 4, -1)
    wanted = similarity(seen, describe(judge, pixels)).tolist()
    assert found["sscd_original_second"] == pytest.approx(wanted, abs=1e-5)
    assert found["replicates_second"] == [float(value >= THRESHOLD) for value in wanted]
    assert set(found["replicates_second"]) == {0.0, 1.0}


def test_the_first_judge_says_what_it_says_alone(folder: Path, tiny_suite_folder: Path) -> None:
    both, alone = (judged(prepared(Suite.load(f)), shown()) for f in (folder, tiny_suite_folder))
    assert {name: values for name, values in both.items() if not name.endswith("_second")} == alone


def test_a_sample_without_an_original_has_no_second_verdict_either(folder: Path) -> None:
    found = judged(prepared(Suite.load(folder)), shown(originals=0))
    assert found.keys() == {"sscd_twin", "diversity"}


def test_the_stack_names_the_second_and_its_threshold_is_its_own(
    folder: Path, tiny_suite_folder: Path
) -> None:
    stack = prepared(Suite.load(folder), threshold=0.9).stack()
    assert (stack["threshold"], stack["second_threshold"]) == (0.9, THRESHOLD)
    assert (stack["false_positive_rate"], stack["second_false_positive_rate"]) == (None, 0.001)
    assert stack["weights_sha256"] != stack["second_weights_sha256"]
    alone = prepared(Suite.load(tiny_suite_folder), threshold=0.9).stack()
    assert {name: v for name, v in stack.items() if not name.startswith("second_")} == alone


def test_a_run_records_both_verdicts_on_every_image(folder: Path, tmp_path: Path) -> None:
    options = {"attack": ["none"], "metric": ["sscd"], "limit": 2, "out": str(tmp_path / "out")}
    result = run(make_config({"suite": str(folder), **options}), discover())
    seen: dict[str, set[tuple[object, ...]]] = {}
    for record in read_records(result.records):
        image = (record.mitigation, record.role, record.sample, record.budget, record.seed)
        seen.setdefault(record.metric, set()).add(image)
        assert record.judge == "sscd"
    assert seen["replicates"] == seen["replicates_second"] == seen["sscd_original_second"]
    assert len(seen["replicates"]) == 2 * (2 + 2) * 2
    for entry in result.entries:
        assert entry.second_judge is not None and not entry.errors
        assert entry.second_judge.verdicts.images == 2 * entry.k
        assert "sscd_original_second" in entry.summaries.memorized
    board = read_board(tmp_path / "out", Registry())
    assert [*board.entries] == result.entries


def test_the_suite_s_digest_is_of_the_second_as_well(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "suite"
    shutil.copytree(folder, copy)
    before = Suite.load(copy).digest()
    weights = copy / "second-descriptor" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert Suite.load(copy).digest() != before


def test_the_embedded_suite_has_none_until_the_fifth_ships() -> None:
    suite = load_suite("tiny", discover())
    assert (suite.second_descriptor is None) == suite.manifest.version.startswith("4.")


def changed(folder: Path, copy: Path, **second: Any) -> Path:
    shutil.copytree(folder, copy)
    content = yaml.safe_load((copy / "suite.yaml").read_text())
    settings = content["second_descriptor"] | second
    write_manifest(copy, content | {"second_descriptor": settings})
    return copy


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ({"path": "../elsewhere"}, "'../elsewhere' leads out of the suite folder"),
        ({"path": "lost"}, "lost is missing; restore it"),
        ({"path": "descriptor"}, "second_descriptor: is the first once more"),
        ({"path": None}, "give the descriptor's path, or official: true"),
        ({"threshold": 1.5}, "'second_descriptor.threshold': Input should be less than 1"),
        ({"weight": 1}, "'second_descriptor.weight': there is no such name"),
    ],
)
def test_a_second_descriptor_that_cannot_judge_ends_the_run_before_it_begins(
    folder: Path,
    tmp_path: Path,
    second: dict[str, Any],
    problem: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "elsewhere").mkdir()
    copy = changed(folder, tmp_path / "suite", **second)
    with pytest.raises(SystemExit) as ended:
        main(["run", "--suite", str(copy), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert ended.value.code == BAD_INPUT and said.count("\n") == 1
    assert problem in said
    assert not list((tmp_path / "out").glob("store/*"))


def test_a_second_descriptor_of_broken_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = changed(folder, tmp_path / "suite")
    weights = copy / "second-descriptor" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(DoribError, match="second-descriptor: cannot be loaded"):
        prepared(Suite.load(copy))


def test_a_second_descriptor_alone_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = changed(folder, tmp_path / "suite")
    content = yaml.safe_load((copy / "suite.yaml").read_text())
    write_manifest(copy, {name: v for name, v in content.items() if name != "descriptor"})
    with pytest.raises(DoribError, match="second_descriptor: there is no first"):
        Suite.load(copy)
