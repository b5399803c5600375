"""Many seeds of a caption, and which image recurs among them."""

from __future__ import annotations

import pytest
import torch

from dorib import Edit, ImageStart, SamplingRule
from dorib.target.model import DiffusersModel
from dorib_seeds import SeedsParams
from dorib_seeds.attack import FreshSeeds
from dorib_seeds.typicality import most_typical, tiled_distances
from fixtures.searches import SEEDS, search, targets_of


def test_a_distance_is_that_of_the_worst_tile() -> None:
    images = torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    images[1] = images[0]
    images[1, :, 12:, 18:] = 1 - images[0, :, 12:, 18:]
    found = tiled_distances(images)
    for one in range(3):
        for other in range(3):
            worst = max(
                float(
                    (
                        images[one, :, 4 * y : 4 * y + 4, 6 * x : 6 * x + 6]
                        - images[other, :, 4 * y : 4 * y + 4, 6 * x : 6 * x + 6]
                    )
                    .square()
                    .mean()
                    .sqrt()
                )
                for y in range(4)
                for x in range(4)
            )
            assert float(found[one, other]) == pytest.approx(worst, abs=1e-6)


def test_the_most_typical_is_in_the_clique() -> None:
    generator = torch.Generator().manual_seed(4)
    images = torch.rand(9, 3, 16, 16, generator=generator)
    for place in (2, 5, 8):
        images[place] = images[5] + 0.01 * torch.rand(3, 16, 16, generator=generator)
    place, distance = most_typical(tiled_distances(images), 3)
    assert place in (2, 5, 8)
    assert distance < 0.02
    # In a clique of one more, each image is as far from the others as can be.
    assert most_typical(tiled_distances(images), 4)[1] > 0.05
    # Fewer images than a clique: all there are.
    assert most_typical(tiled_distances(images[:2]), 9)[0] == 0


def test_what_is_handed_in_is_an_image_that_the_model_drew(tiny_model: DiffusersModel) -> None:
    target = targets_of(tiny_model)[0]
    [trigger] = search(FreshSeeds(SeedsParams(strength=0.5)), tiny_model, [target], [40])
    assert trigger.prompt == target.caption
    assert isinstance(trigger.start, ImageStart) and trigger.start.strength == 0.5
    embeddings = tiny_model.encode_prompt([target.caption])
    drawn = [
        tiny_model.sample_latents(
            embeddings, [SEEDS.generator("s0", "image", number)], torch.tensor([0])
        )[0]
        for number in range(5)
    ]
    distances = tiled_distances(tiny_model.decode(torch.stack(drawn)))
    place, distance = most_typical(distances, 4)
    torch.testing.assert_close(trigger.start.latents, drawn[place], atol=1e-4, rtol=0)
    assert trigger.loss == pytest.approx(distance, abs=1e-4)


def test_a_rule_that_rewrites_prompts_is_felt(tiny_model: DiffusersModel) -> None:
    attack, targets = FreshSeeds(SeedsParams()), targets_of(tiny_model)[:1]
    asked = search(attack, tiny_model, targets, [16])[0].loss
    rule = SamplingRule("prompt-filter", {"substitutes": {targets[0].caption: "sand"}})
    with tiny_model.edited(Edit(rule)):
        filtered = search(attack, tiny_model, targets, [16])[0].loss
    assert filtered != asked
