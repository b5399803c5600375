"""Unlearning in whole: killed and resumed, on SDXL, in a run; and what of a U-Net is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dorib import (
    AddLowRank,
    DoribError,
    Edit,
    Ledger,
    LowRankFactors,
    ReplaceWeights,
    TargetModel,
    Training,
    TrainingParams,
    training,
)
from dorib.config import make_config
from dorib.contracts.suite_view import SamplingSettings
from dorib.kit.finetuning.low_rank import PROJECTIONS
from dorib.runner import run
from dorib.target.model import DiffusersModel
from dorib.testing import sdxl
from fixtures.killed_fits import check_killed_and_run_again
from test_adversarial_finetune import SEEDS, MakeModel, Stopped
from test_adversarial_finetune import fit as finetuned
from test_unlearn import REGISTRY, SMALL, fit, view_of

METHOD = "mitigation unlearn"


@pytest.fixture(scope="module")
def small_model(make_model: MakeModel) -> DiffusersModel:
    """Shared by the tests of this file: one step, no guidance."""
    model: Any = make_model(steps=1, guidance_scale=1.0)
    return model  # type: ignore[no-any-return]


def tensors(edit: Edit) -> dict[str, Tensor]:
    if isinstance(edit.change, AddLowRank):
        return {
            f"{n}.{i}": f for n, both in edit.change.factors.items() for i, f in enumerate(both)
        }
    assert isinstance(edit.change, ReplaceWeights)
    return dict(edit.change.weights)


def same(one: Edit, other: Edit) -> bool:
    first, second = tensors(one), tensors(other)
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@pytest.mark.parametrize("trainable", ["all", "lora"])
def test_a_fit_cut_short_goes_on_from_its_checkpoint(
    small_model: TargetModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainable: str
) -> None:
    options = {"checkpoint_every": 2, "steps_per_image": 2, "trainable": trainable}
    whole = fit(small_model, ledger=(counted := Ledger()), **options)
    taken, step = 0, Training.step_on_several

    def stopping(self: Training, losses: Any, combined: Any) -> None:
        nonlocal taken
        taken += 1
        if taken == 4:
            raise Stopped
        step(self, losses, combined)

    monkeypatch.setattr(Training, "step_on_several", stopping)
    scratch = tmp_path / "scratch"
    with pytest.raises(Stopped):
        fit(small_model, view_of(small_model, scratch), **options)
    ledger = Ledger()
    resumed = fit(small_model, view_of(small_model, scratch), ledger, **options)
    assert taken == 4 + 4  # two of six steps were safe
    assert same(resumed, whole)
    assert resumed.notes == whole.notes
    assert ledger == counted


def test_killed_and_run_again_it_stores_the_same_bytes(
    tiny_suite_folder: Path, tmp_path: Path
) -> None:
    check_killed_and_run_again(
        "unlearn",
        {**SMALL, "checkpoint_every": 1},
        tiny_suite_folder,
        tmp_path,
        step="step_on_several",
        last=2,
    )


def test_it_works_on_sdxl() -> None:
    settings = SamplingSettings(height=32, width=48, steps=1, guidance_scale=1.0)
    model = DiffusersModel(sdxl.pipeline("v_prediction"), settings)
    edit = fit(model)
    before = model.weights()
    assert all(weight.isfinite().all() for weight in tensors(edit).values())
    assert any(not torch.equal(weight, before[name]) for name, weight in tensors(edit).items())


def test_a_whole_run(tiny_suite_folder: Path, tmp_path: Path) -> None:
    small = "pictures=1,steps_per_image=1,gradient_accumulation=1,general_images=2"
    config = {
        "suite": str(tiny_suite_folder),
        "out": str(tmp_path),
        "mitigation": [
            f"unlearn:{small}",
            f"unlearn:{small},loss=retrack,trainable=lora",
            f"quantize:base=(unlearn:{small},loss=neggrad,trainable=attention)",
        ],
        "attack": ["none"],
        "metric": ["sscd"],
        "limit": 2,
    }
    result = run(make_config(config), REGISTRY)
    assert not result.failed
    assert all(entry.errors == 0 for entry in result.entries)


def is_attention(name: str) -> bool:
    layer = name.rpartition(".")[0]
    return layer.endswith(tuple(f".{one}" for one in PROJECTIONS))


Fit = Callable[..., Edit]


@pytest.mark.parametrize("fitting", [fit, finetuned])
def test_attention_alone_is_trained(small_model: DiffusersModel, fitting: Fit) -> None:
    edit = fitting(small_model, trainable="attention")
    before = small_model.weights()
    assert set(tensors(edit)) == {name for name in before if is_attention(name)}
    assert any(name.endswith(".to_out.0.bias") for name in tensors(edit))
    assert all(not torch.equal(value, before[name]) for name, value in tensors(edit).items())


@pytest.mark.parametrize("fitting", [fit, finetuned])
def test_low_rank_additions_alone_are_trained(small_model: DiffusersModel, fitting: Fit) -> None:
    edit = fitting(small_model, trainable="lora", rank=2)
    assert isinstance(edit.change, AddLowRank)
    weights = {f"{layer}.weight" for layer in edit.change.factors}
    assert weights == {n for n in small_model.weights() if is_attention(n) and "bias" not in n}
    for up, down in edit.change.factors.values():
        assert up.shape[1] == down.shape[0] == 2
        assert up.abs().max() > 0
    with small_model.edited(edit):
        assert all(weight.isfinite().all() for weight in small_model.weights().values())
    assert same(edit, fitting(small_model, trainable="lora", rank=2))


def test_all_is_the_default(small_model: DiffusersModel) -> None:
    assert same(finetuned(small_model), finetuned(small_model, trainable="all"))


@pytest.mark.parametrize("several", [False, True])
def test_the_gradients_of_factors_are_those_of_their_product(
    make_model: MakeModel, several: bool
) -> None:
    """Against autograd through the product itself, over two batches and two steps."""
    model = make_model(steps=1, guidance_scale=1.0)
    params = TrainingParams(
        trainable="lora", rank=2, learning_rate=0.01, gradient_accumulation=2, weight_decay=0.1
    )
    latents = torch.randn(2, *model.latent_shape, generator=SEEDS.generator("latents"))
    noise = torch.randn(latents.shape, generator=SEEDS.generator("noise"))
    embeddings, samples = model.encode_prompt(["a red star", "ring"]), torch.zeros(2).long()

    def loss(batch: int) -> Tensor:
        times = torch.tensor([100 + 300 * batch, 900])
        return model.denoising_loss(latents, noise, times, embeddings, samples).mean()

    with training(model, params, SEEDS, METHOD) as trained:
        change = trained.change()
        assert isinstance(change, AddLowRank)
        assert all(not up.any() for up, _ in change.factors.values())
        before = {name: weight.clone() for name, weight in trained.weights.items()}
        factors = {n: [f.clone().requires_grad_() for f in fs] for n, fs in change.factors.items()}
        flat = [factor for both in factors.values() for factor in both]
        adamw = torch.optim.AdamW(flat, 0.01, weight_decay=0.1)
        for _ in range(2):
            if several:
                trained.step_on_several(lambda batch: [loss(batch)], lambda gradients: gradients[0])
            else:
                trained.step(loss)
        stepped = trained.change()
    assert isinstance(stepped, AddLowRank)

    for _ in range(2):
        products = {
            f"{layer}.weight": before[f"{layer}.weight"] + up @ down
            for layer, (up, down) in factors.items()
        }
        unet = model.unet
        for batch in range(2):
            times = torch.tensor([100 + 300 * batch, 900])
            given = torch.func.functional_call(
                unet,
                products,
                (model.add_noise(latents, noise, times), times, embeddings["prompt_embeds"]),
            ).sample
            wanted = model.training_target(latents, noise, times)
            (((given - wanted) ** 2).mean() / 2).backward(retain_graph=True)
        torch.nn.utils.clip_grad_norm_(flat, 1.0)
        adamw.step()
        adamw.zero_grad()
    for layer, both in stepped.factors.items():
        for factor, wanted in zip(both, factors[layer], strict=True):
            torch.testing.assert_close(factor, wanted.detach(), atol=2e-4, rtol=1e-2)


def test_a_unet_without_attention_is_refused(small_model: DiffusersModel) -> None:
    generator = torch.Generator()
    with pytest.raises(DoribError, match="no attention projections to train"):
        LowRankFactors({"conv_in.weight": torch.zeros(2, 2)}, 1, generator, METHOD)
