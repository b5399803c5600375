"""Views: a descriptor whose folder says so sees an original as a whole and in crops."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dorib import DoribError, Generation, Suite
from dorib.suites.manifest import Manifest
from dorib.suites.view import suite_view
from dorib_sscd import SscdParams
from dorib_sscd.metric import Sscd
from dorib_sscd.network import DescriptorConfig, DescriptorNetwork
from dorib_sscd.views import Views
from dorib_suites.tiny.views import VIEWS, describe, describe_views, similarity
from fixtures.suites import SIDE, manifest

SMALL = DescriptorConfig(input_size=SIDE, widths=(8, 16), dimensions=12)


def network(views: Views) -> DescriptorNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return DescriptorNetwork(replace(SMALL, views=views)).half().float().eval()


def suite_at(folder: Path, views: Views) -> Suite:
    network(views).save_pretrained(folder / "descriptor")
    settings = {"path": "descriptor", "threshold": 0.5}
    return Suite(folder, Manifest.model_validate(manifest() | {"descriptor": settings}))


def prepared(suite: Suite) -> Sscd:
    metric = Sscd(SscdParams())
    metric.prepare(suite_view(suite), torch.device("cpu"))
    return metric


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    """Eight-bit values, as pictures are read."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, SIDE, SIDE), generator=generator) / 255


def likeness(metric: Sscd, images: torch.Tensor, originals: torch.Tensor) -> list[float]:
    shown = Generation("s", "a picture", tuple(range(len(images))), images, originals)
    (values,) = metric.measure([shown])
    return [value.value for value in values if value.metric == "sscd_original"]


def test_a_crop_is_the_original_to_a_descriptor_that_sees_it_in_crops(tmp_path: Path) -> None:
    originals = pictures(2)
    crops = torch.cat([view[:1] for view in VIEWS.of(originals)])
    assert len(crops) == 10
    seeing = likeness(prepared(suite_at(tmp_path / "views", VIEWS)), crops, originals)
    assert seeing == pytest.approx([1] * 10, abs=1e-6)
    whole = likeness(prepared(suite_at(tmp_path / "whole", Views())), crops, originals)
    assert whole[0] == pytest.approx(1, abs=1e-9) and max(whole[1:]) < 0.9999


def test_the_metric_s_likeness_is_what_the_recipe_calibrates_on(tmp_path: Path) -> None:
    metric = prepared(suite_at(tmp_path, VIEWS))
    judge = DescriptorNetwork.from_pretrained(tmp_path / "descriptor")
    originals, images = ((255 * pictures(4, seed)).round().to(torch.uint8) for seed in (1, 2))
    wanted = similarity(describe_views(judge, originals), describe(judge, images)).tolist()
    found = []
    for number, (original, image) in enumerate(zip(originals, images, strict=True)):
        shown = Generation(f"s{number}", "", (0,), image[None] / 255, original[None] / 255)
        (values,) = metric.measure([shown])
        found += [value.value for value in values if value.metric == "sscd_original"]
    assert found == pytest.approx(wanted, abs=1e-5)


def test_nothing_changes_for_a_descriptor_without_views(tmp_path: Path) -> None:
    metric = prepared(suite_at(tmp_path, Views()))
    assert "views" not in metric.stack()
    assert (tmp_path / "descriptor" / "config.json").read_text() == (
        '{\n  "dimensions": 12,\n  "input_size": 32,\n  "pooling_power": 3.0,\n'
        '  "widths": [\n    8,\n    16\n  ]\n}\n'
    )


def test_views_are_read_back_and_stand_in_the_stack(tmp_path: Path) -> None:
    suite = suite_at(tmp_path, VIEWS)
    assert DescriptorNetwork.from_pretrained(tmp_path / "descriptor").config.views == VIEWS
    assert prepared(suite).stack()["views"] == "whole; corners 0.85 0.72; centres 0.75"


@pytest.mark.parametrize(
    ("views", "problem"),
    [
        ({"corners": [0.5, 1.2]}, "'corners.1': Input should be less than 1"),
        ({"centres": [0]}, "'centres.0': Input should be greater than 0"),
        ({"corners": [0.5] * 9}, "'corners': Tuple should have at most 8 items"),
        ({"corners": "nine"}, "'corners': Input should be a valid tuple"),
        ({"edges": [0.5]}, "'edges': there is no such name"),
        (["corners"], "is no object"),
        (None, "is no object"),
    ],
)
def test_views_that_make_no_sense_are_refused(tmp_path: Path, views: Any, problem: str) -> None:
    suite = suite_at(tmp_path, Views())
    path = tmp_path / "descriptor" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"views": views}))
    with pytest.raises(DoribError) as caught:
        prepared(suite)
    message = str(caught.value)
    assert f"{tmp_path / 'descriptor'}: config.json: views: {problem}" in message
    assert "\n" not in message


def test_the_smallest_crop_of_the_smallest_picture_has_a_pixel() -> None:
    views = Views(corners=(0.01,), centres=(0.01,))
    assert [view.shape for view in views.of(torch.rand(1, 3, 1, 2))] == [(1, 3, 1, 2)] * 6
