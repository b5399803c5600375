"""Descent in embeddings and noise: down the right loss, by the right steps, as far as it should."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import pytest
import torch
from torch import Tensor

from dorib import DoribError, Edit, Embeddings, Rule, SamplingRule, Seeds, TargetModel
from dorib.host.registry import Registry, discover
from dorib.host.rules import rule_behind
from fixtures.mitigating import CAPTIONS, GENERAL, SEEDS, fitted

ITEMS = 3
SAMPLES = torch.arange(ITEMS)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([*entry_points(group="dorib")])


def rule_of(edit: Edit, registry: Registry) -> Rule[Any]:
    assert isinstance(edit.change, SamplingRule)
    return rule_behind(edit.change, registry)


def noise_of(model: TargetModel) -> Tensor:
    return torch.randn((ITEMS, *model.latent_shape), generator=SEEDS.generator("noise"))


def share(model: TargetModel, noise: Tensor, embeddings: Embeddings) -> Tensor:
    """The prompt's share of the first raw output, by two calls of one half each."""
    nothing = model.encode_prompt([""] * len(noise))
    timestep = model.sampling_timesteps()[0]
    shown, each = model.sampling_input(noise, timestep), timestep.expand(len(noise))
    samples = torch.arange(len(noise))
    with_prompt = model.predict(shown, each, embeddings, samples)
    return with_prompt - model.predict(shown, each, nothing, samples)


def magnitude(model: TargetModel, noise: Tensor, embeddings: Embeddings) -> Tensor:
    return share(model, noise, embeddings).flatten(1).norm(dim=1)


def sharpness(model: TargetModel, noise: Tensor, embeddings: Embeddings) -> Tensor:
    here = share(model, noise, embeddings).detach()
    along = here / here.flatten(1).norm(dim=1)[:, None, None, None]
    return magnitude(model, noise + along, embeddings) + 0.05 * noise.flatten(1).norm(dim=1)


LOSSES = {"magnitude": magnitude, "sharpness": sharpness}


def stepped(value: Tensor, loss: Tensor, rate: float) -> Tensor:
    """AdamW's first step, weight decay 0.01."""
    (gradient,) = torch.autograd.grad(loss.sum(), value)
    return value * (1 - rate * 0.01) - rate * gradient / (gradient.abs() + 1e-8)


def test_one_step_in_the_embeddings(either_model: TargetModel, registry: Registry) -> None:
    model, noise = either_model, noise_of(either_model)
    prompt = model.encode_prompt(CAPTIONS[:ITEMS])["prompt_embeds"].requires_grad_()
    before = magnitude(model, noise, {"prompt_embeds": prompt})
    wanted = stepped(prompt, before, rate=0.01)
    rule = rule_of(
        fitted(model, registry, "embedding-descent:threshold=0,steps=1,rate=0.01"), registry
    )
    with torch.no_grad():
        found = rule.embed(model, {"prompt_embeds": prompt}, noise, SAMPLES)
    assert torch.equal(found["prompt_embeds"][:, 0], prompt[:, 0])
    assert torch.allclose(found["prompt_embeds"][:, 1:], wanted[:, 1:], atol=1e-4)
    assert (magnitude(model, noise, found) < before).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_one_step_in_the_noise(either_model: TargetModel, registry: Registry, loss: str) -> None:
    model, noise = either_model, noise_of(either_model).requires_grad_()
    embeddings = model.encode_prompt(CAPTIONS[:ITEMS])
    before = LOSSES[loss](model, noise, embeddings)
    wanted = stepped(noise, before, rate=0.001)
    spec = f"noise-descent:threshold=0,steps=1,rate=0.001,loss={loss}"
    with torch.no_grad():
        rule = rule_of(fitted(model, registry, spec), registry)
        found = rule.start(model, noise.detach(), embeddings, SAMPLES)
        assert torch.allclose(found, wanted, atol=1e-4)
        assert (LOSSES[loss](model, found, embeddings) < before).all()


def test_the_threshold_is_a_percentile_on_general_captions(
    either_model: TargetModel, registry: Registry
) -> None:
    model, seeds = either_model, Seeds(3)
    noise = torch.stack(
        [
            torch.randn(model.latent_shape, generator=seeds.generator("noise", caption))
            for caption in GENERAL
        ]
    )
    with torch.no_grad():
        embeddings = model.encode_prompt(GENERAL)
        wanted = {
            loss: torch.quantile(measure(model, noise, embeddings), 0.6).item()
            for loss, measure in LOSSES.items()
        }
    for name, loss in (
        ("embedding-descent:", "magnitude"),
        ("noise-descent:", "magnitude"),
        ("noise-descent:loss=sharpness,", "sharpness"),
    ):
        for size in (1, 3):
            spec = f"{name}percentile=60,batch_size={size}"
            rule = rule_of(fitted(model, registry, spec, [*GENERAL, CAPTIONS[0]]), registry)
            assert rule.params.threshold == pytest.approx(wanted[loss], rel=1e-4)
    with pytest.raises(DoribError, match="the suite has none; add some, or set threshold"):
        fitted(model, registry, "embedding-descent", [CAPTIONS[0]])


def test_an_image_stops_where_it_is_ordinary(either_model: TargetModel, registry: Registry) -> None:
    model, noise = either_model, noise_of(either_model)
    embeddings = model.encode_prompt(CAPTIONS[:ITEMS])
    with torch.no_grad():
        before = magnitude(model, noise, embeddings)
        lower, upper = before.min().item() * 0.9, before.sort().values[:2].mean().item()
        for threshold in (lower, upper):
            for kind, rate in (("embedding", 0.05), ("noise", 0.015)):
                spec = f"{kind}-descent:threshold={threshold},steps=40,rate={rate}"
                rule = rule_of(fitted(model, registry, spec), registry)
                at, asked = noise, embeddings
                if kind == "embedding":
                    asked = rule.embed(model, embeddings, noise, SAMPLES)
                else:
                    at = rule.start(model, noise, embeddings, SAMPLES)
                after = magnitude(model, at, asked)
                assert (after <= threshold + 1e-4).all()
                # The first point that is low enough, not one far below; unmoved where it was so.
                assert (after > 0.5 * threshold).all()
                still = before <= threshold
                assert torch.equal(at[still], noise[still])
                name = "prompt_embeds"
                assert torch.equal(asked[name][still], embeddings[name][still])


def test_steps_that_lead_up_are_not_gone(tiny_model: TargetModel, registry: Registry) -> None:
    noise, embeddings = noise_of(tiny_model), tiny_model.encode_prompt(CAPTIONS[:ITEMS])
    with torch.no_grad():
        before = magnitude(tiny_model, noise, embeddings)
        for steps in (1, 3):
            spec = f"embedding-descent:threshold=0,rate=10,steps={steps}"
            rule = rule_of(fitted(tiny_model, registry, spec), registry)
            found = rule.embed(tiny_model, embeddings, noise, SAMPLES)
            assert (magnitude(tiny_model, noise, found) <= before + 1e-5).all()


def test_adjusted_noise(either_model: TargetModel, registry: Registry) -> None:
    model, noise = either_model, noise_of(either_model)
    embeddings = model.encode_prompt(CAPTIONS[:ITEMS])
    rule = rule_of(fitted(model, registry, "noise-adjustment:repeats=2,radius=3"), registry)
    with torch.no_grad():
        wanted = noise
        for _ in range(2):
            here = share(model, wanted, embeddings)
            along = here / here.flatten(1).norm(dim=1)[:, None, None, None]
            wanted = wanted - 0.7 * (share(model, wanted + 3 * along, embeddings) - here)
        found = rule.start(model, noise, embeddings, SAMPLES)
    assert torch.allclose(found, wanted, atol=1e-4)
    assert not torch.allclose(found, noise, atol=1e-3)
