"""What holds of every mitigation that acts while a model samples."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dorib import Ledger, TargetModel
from dorib.config import make_config
from dorib.contracts.suite_view import SamplingSettings
from dorib.host.registry import Registry, discover
from dorib.runner import run
from dorib.target.model import DiffusersModel
from dorib.testing import sdxl
from fixtures.mitigating import CAPTIONS, SEEDS, fitted, sampled

GUARD = "attention:begin_scale=1,mask_padding=false,spike_scale=0.3"
REPULSION = f"{GUARD},repulsion=2"

NEUTRAL = {
    "prompt-noise:count=0": {"prompt-noise:kind=number,count=1"},
    "guidance:until=1": {
        "guidance",
        "guidance:before=-2,until=0.65",
        "guidance:before=1,switch=difference",
        "guidance:before=-1,switch=motion",
        "guidance:until=1,repulsion=2",
    },
    "attention:begin_scale=1,mask_padding=false": {
        "attention",
        "attention:form=multiplicative",
        GUARD,
        f"{GUARD},form=multiplicative,spike_blocks=all",
        REPULSION,
    },
    "embedding-descent:steps=0": {"embedding-descent:threshold=0,steps=3"},
    "noise-descent:steps=0": {
        "noise-descent:threshold=0,steps=3,rate=0.1",
        "noise-descent:threshold=0,steps=2,rate=0.1,loss=sharpness",
    },
    "noise-adjustment:repeats=0,until=1": {
        "noise-adjustment:until=1",
        "noise-adjustment:repeats=1,radius=5",
    },
}
"""By the spec that changes nothing: some that do."""
ACTIVE = sorted(spec for specs in NEUTRAL.values() for spec in specs)

RULE_WORK = {
    # Without a prompt, then forward and backward at three points, and forward at the last.
    "embedding-descent:threshold=0,steps=3": 2 + 3 * 3 + 1,
    # Both halves of guidance each time.
    "noise-descent:threshold=0,steps=3,rate=0.1": 2 * (3 * 3 + 1),
    "noise-descent:threshold=0,steps=2,rate=0.1,loss=sharpness": 2 * (2 * 4 + 2),
    "noise-adjustment:until=1": 2 * 2 * 2,
    "noise-adjustment:repeats=1,radius=5": 2 * 2,
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([*entry_points(group="dorib")])


@pytest.fixture(scope="module", params=["epsilon", "v_prediction", "sdxl"])
def model(request: pytest.FixtureRequest, make_model: Any) -> DiffusersModel:
    if request.param != "sdxl":
        made: DiffusersModel = make_model(request.param)
        return made
    settings = SamplingSettings(height=32, width=48, steps=3, guidance_scale=3.0)
    return DiffusersModel(sdxl.pipeline(), settings)


@pytest.fixture(scope="module")
def plain(model: DiffusersModel) -> Tensor:
    return sampled(model)


@pytest.mark.parametrize("spec", NEUTRAL)
def test_the_neutral_parameter_changes_no_byte(
    model: TargetModel, plain: Tensor, registry: Registry, spec: str
) -> None:
    edit = fitted(model, registry, spec)
    ledger = Ledger()
    with model.edited(edit), model.counting(ledger):
        assert torch.equal(sampled(model), plain)
    assert [ledger.rule_work_of(place) for place in range(len(CAPTIONS))] == [0] * len(CAPTIONS)


@pytest.mark.parametrize("spec", ACTIVE)
def test_it_acts_on_each_item_by_itself_and_its_work_is_counted(
    model: TargetModel, plain: Tensor, registry: Registry, spec: str
) -> None:
    ledger = Ledger()
    edit = fitted(model, registry, spec)
    with model.edited(edit):
        with model.counting(ledger):
            together = sampled(model)
        alone = torch.cat([sampled(model, [place]) for place in (0, 7)])
    assert torch.equal(sampled(model), plain)
    assert torch.isfinite(together).all()
    changed = (together - plain).flatten(1).abs().amax(dim=1)
    assert (changed > 1e-3).sum() >= len(CAPTIONS) / 2
    assert torch.allclose(together[[0, 7]], alone, atol=1e-3)
    works = {ledger.rule_work_of(place) for place in range(len(CAPTIONS))}
    # Repulsion takes a pass a step.
    steps = model.sampling.steps
    assert works == {steps if spec == REPULSION else RULE_WORK.get(spec, 0)}
    assert ledger.work_of(0) == 2 * steps


@pytest.mark.parametrize("spec", ["attention", f"{GUARD},form=multiplicative", "embedding-descent"])
def test_a_search_feels_it_with_gradients(
    model: TargetModel, registry: Registry, spec: str
) -> None:
    if spec == "embedding-descent":
        spec = "embedding-descent:threshold=0,steps=3"

    def losses() -> tuple[Tensor, dict[str, Tensor]]:
        encoded = model.encode_prompt(CAPTIONS[:2])
        embeddings = {name: value.clone().requires_grad_() for name, value in encoded.items()}
        shape = (2, *model.latent_shape)
        latents = torch.randn(shape, generator=SEEDS.generator("latents"))
        noise = torch.randn(shape, generator=SEEDS.generator("noise"))
        items = torch.arange(2)
        loss = model.denoising_loss(latents, noise, torch.tensor([100, 900]), embeddings, items)
        loss.sum().backward()
        gradients = {name: value.grad for name, value in embeddings.items()}
        return loss.detach(), {n: g for n, g in gradients.items() if g is not None}

    before, _ = losses()
    with model.edited(fitted(model, registry, spec)):
        after, gradients = losses()
    assert not torch.equal(before, after)
    assert gradients.keys() == model.conditioning
    for gradient in gradients.values():
        assert torch.isfinite(gradient).all()
        assert (gradient.flatten(1).abs().amax(dim=1) > 0).all()


def test_whole_runs(tiny_suite_folder: Path, tmp_path: Path, registry: Registry) -> None:
    specs = ["prompt-noise", "guidance", REPULSION, "embedding-descent:steps=2"]
    specs += ["noise-descent:steps=2", "noise-adjustment"]
    config = {
        "suite": str(tiny_suite_folder),
        "out": str(tmp_path),
        "mitigation": specs,
        "attack": ["none", "dori:pairs=1"],
        "metric": ["sscd"],
        "budgets": [3],
        "limit": 1,
        "seeds": 1,
    }
    result = run(make_config(config), registry)
    assert not result.failed
    entries = {(e.mitigation.name, e.attack.name): e for e in result.entries}
    assert all(entry.errors == 0 for entry in entries.values())
    work = {name: entry.work.rule for (name, attack), entry in entries.items() if attack == "none"}
    assert work["prompt-noise"] == work["guidance"] == work["none"] == 0
    assert work["attention"] == 3
    assert work["noise-adjustment"] == 8
    assert 5 <= work["embedding-descent"] <= 9
    assert 6 <= work["noise-descent"] <= 14
    adaptive = {name: e.adaptive for (name, attack), e in entries.items() if attack == "dori"}
    assert adaptive["embedding-descent"] is True
    assert adaptive["guidance"] is False
    assert adaptive["attention"] is False
    assert adaptive["noise-descent"] is False
    assert entries["prompt-noise", "dori"].bypass
