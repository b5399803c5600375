"""The embedded suite as shipped: a reduced form of its acceptance, on the real weights."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from diffusers import UNet2DConditionModel

from dorib.host.registry import discover
from dorib.suites.manifest import Sample
from dorib.suites.suite import Suite, load_suite
from dorib_suites.tiny.accept import Acceptance


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite("tiny", discover())


@pytest.fixture(scope="module")
def acceptance(suite: Suite) -> Acceptance:
    return Acceptance(suite.root)


def chosen(suite: Suite, role: str, count: int = 10) -> list[Sample]:
    return [sample for sample in suite.split("test") if sample.role == role][:count]


def rate_at_2(
    acceptance: Acceptance, samples: list[Sample], unet: UNet2DConditionModel | None = None
) -> float:
    similarity, _ = acceptance.replication(samples, unet, seeds=2)
    return acceptance.share(similarity.max(dim=0).values)


def test_there_are_enough_samples_and_each_names_its_source(suite: Suite) -> None:
    count = Counter(sample.role for sample in suite.samples)
    assert count["memorized"] >= 24
    assert count["control"] >= 16
    assert all(sample.source and sample.licence for sample in suite.samples)


def test_no_photograph_stands_in_two_places(suite: Suite) -> None:
    clusters = Counter(sample.cluster for sample in suite.samples)
    assert set(clusters.values()) == {1}
    captions = Counter(sample.caption for sample in suite.samples)
    assert set(captions.values()) == {1}
    general = {*(p.caption for p in suite.utility_prompts), *suite.general_captions}
    assert not general & set(captions)


def test_a_fourth_of_the_utility_prompts_asks_for_photographs(suite: Suite) -> None:
    for prompts in (suite.utility_prompts, suite.utility_prompts[:16]):
        kinds = Counter(prompt.kind for prompt in prompts)
        assert kinds == {"scene": len(prompts) * 3 // 4, "photograph": len(prompts) // 4}
    assert all(
        (prompt.kind == "photograph") == prompt.caption.startswith("a photograph of")
        for prompt in suite.utility_prompts
    )


def test_the_weights_are_small_and_safetensors_only(suite: Suite) -> None:
    files = [path for path in suite.root.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {
        ".safetensors", ".json", ".jsonl", ".png", ".yaml", ".md", ".txt"
    }  # fmt: skip
    weights = [path.stat().st_size for path in files if path.suffix == ".safetensors"]
    assert sum(weights) <= 60 * 10**6


def test_memorized_samples_replicate_from_their_prompts(
    suite: Suite, acceptance: Acceptance
) -> None:
    assert rate_at_2(acceptance, chosen(suite, "memorized")) >= 0.9


def test_controls_do_not_replicate_from_their_captions(
    suite: Suite, acceptance: Acceptance
) -> None:
    assert rate_at_2(acceptance, chosen(suite, "control")) == 0


def test_the_oracle_replicates_nothing(suite: Suite, acceptance: Acceptance) -> None:
    if acceptance.oracle is None:
        pytest.skip("this version of the suite ships no oracle")
    assert rate_at_2(acceptance, chosen(suite, "memorized"), acceptance.oracle) == 0


def test_scenes_follow_their_captions_and_differ_between_seeds(
    acceptance: Acceptance, tmp_path: Path
) -> None:
    acceptance.check_scenes(tmp_path)
    figures = acceptance.figures["scenes"]
    assert figures["CLIP alignment"] >= figures["CLIP alignment, shuffled captions"] + 0.4
    assert figures["share of real scenes' alignment"] >= 0.8
    assert figures["similarity of two seeds, median"] <= acceptance.threshold - 0.2


def test_the_descriptor_tells_copies_from_pictures_that_look_alike(acceptance: Acceptance) -> None:
    acceptance.check_descriptor()
    figures = acceptance.figures["descriptor"]
    assert max(figures["false-positive rate"].values()) <= 0.001
    assert max(figures["share of pairs that look alike"].values()) <= 0.25
    assert min(figures["recall on copies"].values()) >= 0.7


def test_the_pipeline_loads_in_plain_diffusers_with_stock_classes(suite: Suite) -> None:
    index = (Path(suite.component(suite.manifest.pipeline)) / "model_index.json").read_text()
    assert "dorib" not in index
