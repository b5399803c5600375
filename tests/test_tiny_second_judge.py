"""The second judge's network: the converted weights, and shapes at any size."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from dorib import DoribError
from dorib.store.fingerprint import file_digest
from dorib_sscd.backends import load_network
from dorib_sscd.efficientnet import STAGES, FeatureConfig, FeatureDescriptor
from dorib_suites.tiny.copies import CHANGES
from dorib_suites.tiny.data import as_float, fixed_crops
from dorib_suites.tiny.photographs import FIFTH
from dorib_suites.tiny.second_descriptor import CONFIG, fitted, save_projection, second_judge
from dorib_suites.tiny.second_judge import LICENCE, WEIGHTS, imagenet_network
from dorib_suites.tiny.views import VIEWS


def test_the_weights_are_those_of_the_readme() -> None:
    readme = (WEIGHTS.parent / "README.md").read_text()
    digest = file_digest(WEIGHTS).removeprefix("sha256:")
    assert digest in re.findall(r"`([0-9a-f]{64})`", readme)
    assert LICENCE.read_text().startswith("Apache Software License")


@pytest.mark.parametrize("side", [64, 97])
def test_each_stage_has_its_channels_and_halves_round_up(side: int) -> None:
    features = imagenet_network()(torch.rand(1, 3, side, side))
    assert [f.shape[1] for f in features] == [row[1] for row in STAGES]
    wanted = -(-side // 2)
    for row, found in zip(STAGES, features, strict=True):
        wanted = -(-wanted // row[3])
        assert found.shape[-2:] == (wanted, wanted)


def test_a_copy_is_nearer_than_any_other_picture() -> None:
    network = imagenet_network()
    images = as_float(fixed_crops("control").pixels[:12])
    copied = CHANGES["crop"](images, torch.Generator("cpu").manual_seed(0))
    own, other = (network(x)[5].mean(dim=(2, 3)) for x in (images, copied))
    similarity = torch.nn.functional.cosine_similarity(own[:, None], other[None], dim=2)
    assert torch.equal(similarity.argmax(dim=1), torch.arange(12))


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(DoribError, match="second judge"):
        imagenet_network(tmp_path / "none.safetensors")


def test_the_second_judges_descriptors_have_unit_length_and_tell_pictures_apart() -> None:
    judge = second_judge()
    images = as_float(fixed_crops("control", FIFTH).pixels[:12])
    own = judge(images)
    assert own.shape == (12, CONFIG.dimensions)
    assert torch.allclose(own.norm(dim=1), torch.ones(12), atol=1e-5)
    copied = judge(CHANGES["crop"](images, torch.Generator("cpu").manual_seed(0)))
    similarity = own @ copied.T
    assert torch.equal(similarity.argmax(dim=1), torch.arange(12))
    others = similarity[~torch.eye(12, dtype=torch.bool)]
    assert similarity.diagonal().median() > 0.7 > others.max()


def test_a_fitted_map_shrinks_what_copies_differ_in() -> None:
    network = imagenet_network()
    pixels = fixed_crops("control").pixels[:16]
    judge = fitted(network, pixels, [])
    images = as_float(pixels)
    copied = CHANGES["jpeg"](images, torch.Generator("cpu").manual_seed(1))
    plain, other = (judge.pooled(x) - judge.mean for x in (images, copied))
    before = torch.nn.functional.cosine_similarity(plain, other, dim=1).mean()
    assert (judge(images) * judge(copied)).sum(dim=1).mean() > before


def test_a_picture_that_is_reduced_first_loses_what_lies_above() -> None:
    images = 0.2 + 0.6 * as_float(fixed_crops("control").pixels[:8])
    stripes = torch.tensor([1.0, -1.0]).repeat(32)
    finest = images + 0.1 * stripes
    likeness = []
    for reduced in (None, 32):
        judge = FeatureDescriptor(FeatureConfig(input_size=128, reduced_size=reduced)).eval()
        judge.network = imagenet_network()
        own, other = judge.pooled(images), judge.pooled(finest)
        likeness.append((own * other).sum(dim=1).mean())
    assert 1 - likeness[1] < (1 - likeness[0]) / 4


def test_a_map_is_read_as_it_was_written(tmp_path: Path) -> None:
    judge = second_judge()
    save_projection(judge, tmp_path / "map.safetensors")
    again = second_judge(tmp_path / "map.safetensors")
    images = as_float(fixed_crops("control").pixels[:2])
    assert torch.equal(judge(images), again(images))


def test_the_descriptor_s_folder_is_read_as_it_was_written(tmp_path: Path) -> None:
    judge = second_judge()
    judge.save_pretrained(tmp_path)
    again = FeatureDescriptor.from_pretrained(tmp_path)
    assert again.config == CONFIG and CONFIG.views == VIEWS
    images = as_float(fixed_crops("control").pixels[:2])
    assert torch.equal(judge(images), again(images))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"stage": 7}, "'stage': Input should be less than 7"),
        ({"input_size": "large"}, "'input_size': Input should be a valid integer"),
        ({"reduced_size": 4}, "'reduced_size': Input should be greater than or equal to 8"),
        ({"widths": [8]}, "'widths': there is no such name"),
        ({"dimensions": 12}, "cannot be loaded"),
        ({"views": {"corners": [2]}}, "views: 'corners.0'"),
        ({"architecture": "vit"}, "architecture 'vit' is unknown; leave it out, or give effic"),
    ],
)
def test_a_folder_that_makes_no_sense_is_refused(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    second_judge().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DoribError) as caught:
        load_network(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"descriptor {tmp_path}: ") and problem in message
    assert "\n" not in message
