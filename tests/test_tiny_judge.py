"""What the judge is taught on and calibrated by: lookalikes, groups, the pool that is set aside."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dorib_sscd.network import DescriptorNetwork
from dorib_suites.tiny.calibration import (
    SYMMETRIC,
    Group,
    copy_similarities,
    lookalike_similarities,
)
from dorib_suites.tiny.calibration import threshold_of as largest_threshold
from dorib_suites.tiny.data import as_float, fixed_crops, photographs, pool_crops, pool_originals
from dorib_suites.tiny.lookalikes import LOOKALIKES, lookalikes, masses, silhouette
from dorib_suites.tiny.photographs import FIFTH
from dorib_suites.tiny.reuse import STAGES

OTHERS = {SYMMETRIC, "frosted glass", "matched noise"}
"""Lookalikes that are no silhouettes."""


def pictures() -> torch.Tensor:
    return as_float(fixed_crops("memorized", FIFTH).pixels[:6])


def generator() -> torch.Generator:
    return torch.Generator("cpu").manual_seed(0)


@pytest.mark.parametrize("name", LOOKALIKES)
def test_a_lookalike_is_a_repeatable_image_far_from_its_original(name: str) -> None:
    images = pictures()
    changed, again = (LOOKALIKES[name](images, generator()) for _ in range(2))
    assert changed.shape == images.shape and torch.equal(changed, again)
    assert changed.min() >= -1e-5 and changed.max() <= 1 + 1e-5
    assert ((changed - images).abs().flatten(1).mean(dim=1) > 0.01).all()


def test_each_image_gets_a_lookalike_of_a_kind_by_lot() -> None:
    images = pictures()[:1].expand(60, -1, -1, -1)
    changed = lookalikes(images, generator())
    assert (changed != images).flatten(1).any(dim=1).all()
    assert len(torch.unique(changed.flatten(1), dim=0)) >= len(LOOKALIKES)


def test_the_silhouette_of_a_cut_out_is_its_object() -> None:
    image = torch.ones(1, 3, 64, 64)
    image[:, :, 20:40, 10:30] = torch.tensor([0.8, 0.2, 0.1])[:, None, None]
    shape = silhouette(image)
    assert shape.sum() == 20 * 20 and shape[..., 20:40, 10:30].min() == 1


def test_masses_divide_an_image_into_equal_areas() -> None:
    regions = masses(torch.rand(2, 3, 64, 64, generator=generator()), 3)
    assert torch.equal(regions.sum(dim=1), torch.ones(2, 64, 64))
    assert (regions.mean(dim=(2, 3)) - 1 / 3).abs().max() < 0.01


def test_the_judges_photographs_are_dealt_in_halves_and_keep_their_order() -> None:
    pool = photographs("judge", FIFTH)
    halves = [sum(p.split == split for p in pool) for split in ("training", "calibration")]
    assert halves[0] == halves[1] >= 16
    assert pool_originals(pool[:3]).shape == (3, 3, 64, 64)
    crops = pool_crops(pool[:3], 4, seed=1)
    assert crops.shape == (12, 3, 64, 64)
    assert torch.equal(crops, pool_crops(pool[:3], 4, seed=1))
    # Crops of one photograph stand together: nearer in colour to each other than to the next.
    means = crops.float().mean(dim=(2, 3)).view(3, 4, 3)
    within = (means - means.mean(dim=1, keepdim=True)).norm(dim=2).mean()
    assert within < torch.pdist(means.mean(dim=1)).mean()


def test_the_threshold_is_the_largest_of_the_groups_that_count() -> None:
    found = {
        "different, scenes": Group(torch.linspace(-1, 0.5, 1000), 0.001),
        "lookalikes": Group(torch.linspace(-1, 0.7, 100), 0.01),
        "lookalikes, outline": Group(torch.linspace(-1, 0.9, 100), 0.01, counts=False),
    }
    threshold, group = largest_threshold(found)
    assert group == "lookalikes"
    for pairs in found.values():
        passed = (pairs.similarities >= threshold).float().mean()
        assert passed <= pairs.rate or not pairs.counts
    assert largest_threshold(found, ("lookalikes",))[1] == "different, scenes"


def test_similarities_are_of_each_kind_and_a_copy_is_nearer_than_noise() -> None:
    torch.manual_seed(0)
    network = DescriptorNetwork().eval().requires_grad_(False)
    originals = fixed_crops("control", FIFTH).pixels[:4]
    alike, copied = (f(network, originals) for f in (lookalike_similarities, copy_similarities))
    assert alike.keys() == LOOKALIKES.keys()
    assert copied["noise"].median() > alike["matched noise"].median()


@pytest.fixture(scope="module")
def kept() -> tuple[DescriptorNetwork, dict[str, Any]]:
    """The kept judge, and the figures that it was kept with."""
    judge = DescriptorNetwork()
    state = load_file(STAGES / "judge.safetensors")
    judge.load_state_dict({name: value.float() for name, value in state.items()})
    figures = json.loads((STAGES / "judges.json").read_text())["first"]
    return judge.eval().requires_grad_(False), figures


def test_planted_silhouettes_are_no_copies(
    kept: tuple[DescriptorNetwork, dict[str, Any]],
) -> None:
    """Outlines, fills and masses of the suite's own originals, which the judge has never seen."""
    judge, figures = kept
    pixels = torch.cat([fixed_crops(role, FIFTH).pixels for role in ("memorized", "control")])
    found = lookalike_similarities(judge, pixels)
    planted = torch.cat([values for kind, values in found.items() if kind not in OTHERS])
    assert (planted >= figures["calibration"]["threshold"]).float().mean() <= 0.01


def test_no_kind_of_copy_is_missed_and_the_figures_are_what_the_judge_does(
    kept: tuple[DescriptorNetwork, dict[str, Any]],
) -> None:
    judge, figures = kept
    pixels = torch.cat([fixed_crops(role, FIFTH).pixels for role in ("memorized", "control")])
    threshold = figures["calibration"]["threshold"]
    shares = {
        kind: (values >= threshold).float().mean().item()
        for kind, values in copy_similarities(judge, pixels).items()
    }
    assert shares == pytest.approx(figures["copies of samples"], abs=0.01)
    assert min(shares.values()) >= 0.85
    assert sum(shares.values()) / len(shares) >= 0.95
