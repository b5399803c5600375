"""Guidance by other scales: which, when, and for which image."""

from __future__ import annotations

import math
from importlib.metadata import entry_points
from typing import Any

import pytest
import torch
from torch import Tensor

from dorib import Rule, SamplingRule, Step, TargetModel
from dorib.host.registry import Registry, discover
from dorib.host.rules import rule_behind
from fixtures.mitigating import CAPTIONS, SEEDS, fitted, sampled

SCALE = 3.0


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([*entry_points(group="dorib")])


def rule(registry: Registry, **params: object) -> Rule[Any]:
    return rule_behind(SamplingRule("guidance", params), registry)


def scales(
    model: TargetModel,
    registry: Registry,
    differences: Tensor,
    scale: float = SCALE,
    latents: Tensor | None = None,
    **params: object,
) -> Tensor:
    """The scale `[steps, images]` of each step, where the outputs are `differences` apart."""
    guide = rule(registry, **params)
    steps, images = differences.shape
    states: list[dict[str, object]] = [{} for _ in range(images)]
    found = []
    for index, row in enumerate(differences):
        shape = (images, *model.latent_shape)
        at = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        if latents is not None:
            at = latents[index].view(-1, 1, 1, 1) + at
        unconditional = torch.full(shape, 0.25)
        conditional = unconditional + row.view(-1, 1, 1, 1)
        timestep = torch.tensor(999 - 1000 * index // steps)
        step = Step(model, index, steps, timestep, at, {}, torch.arange(images), states)
        output = guide.guide(step, unconditional, conditional, scale)
        found.append(((output - unconditional) / (conditional - unconditional)).flatten(1).mean(1))
    return torch.stack(found)


def test_a_scale_holds_until_a_timestep(tiny_model: TargetModel, registry: Registry) -> None:
    found = scales(tiny_model, registry, torch.ones(4, 1), before=-2, until=0.6)
    assert torch.allclose(found[:, 0], torch.tensor([-2, -2, SCALE, SCALE]))


def test_an_image_switches_at_its_own_first_minimum(
    tiny_model: TargetModel, registry: Registry
) -> None:
    differences = torch.tensor([[5.0, 1, 4], [4, 2, 4], [3, 1, 5], [4, 3, 1], [1, 1, 3], [2, 2, 1]])
    found = scales(tiny_model, registry, differences, before=1, switch="difference")
    wanted = torch.full((6, 3), SCALE)
    wanted[:3, 0] = wanted[:3, 1] = 1
    # Nothing fell at first, nor where it stayed level: a rise alone is no minimum.
    wanted[:4, 2] = 1
    assert torch.allclose(found, wanted)
    for image in range(3):
        alone = scales(
            tiny_model, registry, differences[:, image, None], before=1, switch="difference"
        )
        assert torch.equal(alone[:, 0], found[:, image])


def test_motion_is_the_angle_between_neighbouring_latents(
    tiny_model: TargetModel, registry: Registry
) -> None:
    # The nearer to the constant part, the smaller the angle that a step turns by.
    latents = torch.tensor([[0.0], [2], [3], [3.1], [9], [9]])
    found = scales(tiny_model, registry, torch.ones(6, 1), latents=latents, switch="motion")
    assert torch.allclose(found[:, 0], torch.tensor([0, 0, 0, 0, SCALE, SCALE]))


@pytest.mark.parametrize("scale", [SCALE, 1.0, 0.0])
def test_repulsion_falls_like_a_quarter_of_a_cosine(
    tiny_model: TargetModel, registry: Registry, scale: float
) -> None:
    found = scales(tiny_model, registry, torch.ones(4, 1), scale=scale, until=1, repulsion=2)
    # Without guidance in the suite, the prompt alone is asked with: a scale of 1.
    wanted = [max(scale, 1) - 2 * math.cos(math.pi / 2 * index / 4) for index in range(4)]
    assert torch.allclose(found[:, 0], torch.tensor(wanted))


def test_no_prompt_at_all_is_the_same_for_every_prompt(
    tiny_model: TargetModel, registry: Registry
) -> None:
    edit = fitted(tiny_model, registry, "guidance:before=0,until=0")
    with tiny_model.edited(edit):
        asked = sampled(tiny_model, [1])
        other = tiny_model.sample_latents(
            tiny_model.encode_prompt(CAPTIONS[:1]),
            [SEEDS.generator(1)],
            torch.tensor([1]),
        )
    assert torch.allclose(asked, other, atol=1e-5)
