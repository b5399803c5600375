"""The built-in probes against plain transcriptions of their definitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from dorib import DoribError, Ledger, Probe, TargetModel
from dorib.contracts.suite_view import SamplingSettings
from dorib.target.model import DiffusersModel
from dorib_probes import FirstStepParams, LossParams
from dorib_probes.first_steps import Magnitude, OneStep
from dorib_probes.losses import Clid, LossGap
from fixtures import sdxl
from fixtures.edits import per_sample_edit, row_as_global
from fixtures.searches import SEEDS, targets_of

PROBES: dict[str, Callable[[], Probe[Any]]] = {
    "loss-gap": lambda: LossGap(LossParams(pairs=3)),
    "clid": lambda: Clid(LossParams(pairs=3)),
    "magnitude": lambda: Magnitude(FirstStepParams(noises=3)),
    "one-step": lambda: OneStep(FirstStepParams(noises=3)),
}
WORK = {"loss-gap": 3, "clid": 6, "magnitude": 6, "one-step": 6}


def scores(
    name: str, model: TargetModel, targets: Sequence[Any], ledger: Ledger | None = None
) -> list[float]:
    ledger = ledger or Ledger()
    with model.counting(ledger):
        return list(PROBES[name]().score(model, targets, SEEDS, ledger))


def losses_by_hand(model: DiffusersModel, image: torch.Tensor, prompt: str) -> list[float]:
    """With diffusers' own parts, on three pairs."""
    scheduler, unet = model.pipeline.scheduler, model.pipeline.unet
    generator, clean = SEEDS.generator("pairs"), model.encode_image(image[None])
    embeddings, losses = model.encode_prompt([prompt])["prompt_embeds"], []
    for _ in range(3):
        timestep = torch.randint(model.timesteps, (1,), generator=generator)
        noise = torch.randn((1, *model.latent_shape), generator=generator)
        noisy = scheduler.add_noise(clean, noise, timestep)
        wanted = noise
        if scheduler.config.prediction_type == "v_prediction":
            wanted = scheduler.get_velocity(clean, noise, timestep)
        with torch.no_grad():
            output = unet(noisy, timestep, embeddings).sample
        losses.append(float(torch.nn.functional.mse_loss(output, wanted)))
    return losses


def test_loss_gap_and_clid_are_their_definitions(either_model: DiffusersModel) -> None:
    targets = targets_of(either_model)
    gaps = scores("loss-gap", either_model, targets)
    clid = scores("clid", either_model, targets)
    for target, gap, discrepancy in zip(targets, gaps, clid, strict=True):
        asked = sum(losses_by_hand(either_model, target.original, target.caption)) / 3
        nothing = sum(losses_by_hand(either_model, target.original, "")) / 3
        assert gap == pytest.approx(-asked, rel=1e-4)
        assert discrepancy == pytest.approx(nothing - asked, abs=1e-5)


def test_first_steps_are_their_definitions(either_model: DiffusersModel) -> None:
    targets = targets_of(either_model)
    found = {name: scores(name, either_model, targets) for name in ("magnitude", "one-step")}
    scheduler, unet = either_model.pipeline.scheduler, either_model.pipeline.unet
    scheduler.set_timesteps(4)
    first = scheduler.timesteps[0]
    for row, target in enumerate(targets):
        generator, magnitudes, errors = SEEDS.generator("noise"), [], []
        for _ in range(3):
            noise = torch.randn(either_model.latent_shape, generator=generator)[None]
            with torch.no_grad():
                asked, nothing = (
                    unet(noise, first, either_model.encode_prompt([p])["prompt_embeds"]).sample
                    for p in (target.caption, "")
                )
            magnitudes.append(float((asked - nothing).norm()))
            guided = nothing + 3.0 * (asked - nothing)
            clean = scheduler.step(guided, first, noise).pred_original_sample
            errors.append(float((clean - noise).square().mean()))
        assert found["magnitude"][row] == pytest.approx(sum(magnitudes) / 3, rel=1e-4)
        assert found["one-step"][row] == pytest.approx(sum(errors) / 3, rel=1e-3)


@pytest.mark.parametrize("name", PROBES)
def test_a_score_is_its_targets_own(name: str, tiny_model: DiffusersModel) -> None:
    targets, ledger = targets_of(tiny_model), Ledger()
    edit = per_sample_edit(tiny_model, "mask", 3)
    with tiny_model.edited(edit):
        together = scores(name, tiny_model, targets, ledger)
    assert {ledger.work_of(index) for index in range(3)} == {WORK[name]}
    with tiny_model.edited(row_as_global(edit, 2)):
        [alone] = scores(name, tiny_model, [replace(targets[2], index=0)])
    assert alone == pytest.approx(together[2], rel=1e-3, abs=1e-5)
    assert scores(name, tiny_model, targets) != together


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("kind", ["sdxl", "no guidance"])
def test_each_runs_on_other_models(
    name: str, kind: str, make_model: Callable[..., DiffusersModel]
) -> None:
    settings = SamplingSettings(height=32, width=32, steps=4, guidance_scale=3.0)
    if kind == "sdxl":
        model = DiffusersModel(sdxl.pipeline("epsilon"), settings)
    else:
        model = make_model("epsilon", guidance_scale=1.0)
    found = scores(name, model, targets_of(model))
    assert torch.isfinite(torch.tensor(found)).all()
    assert len(set(found)) == 3


def test_one_step_from_nothing_but_noise_is_refused(
    make_model: Callable[..., DiffusersModel],
) -> None:
    model = make_model("v_prediction")
    model.prediction_type = "epsilon"
    with pytest.raises(DoribError, match="this model predicts noise"):
        scores("one-step", model, targets_of(model))
