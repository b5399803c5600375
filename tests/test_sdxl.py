"""SDXL: two text encoders, pooled embeddings and sizes, against diffusers' own pipeline."""

from __future__ import annotations

import shutil
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler
from torch import Tensor

from dorib.config import make_config
from dorib.contracts.suite_view import SamplingSettings
from dorib.errors import DoribError
from dorib.host.registry import discover
from dorib.runner import run
from dorib.target.loading import load_pipeline
from dorib.target.model import DiffusersModel
from dorib.target.sampling import initial_noise
from dorib.testing import sdxl
from dorib_locality.locality_config import LocalityConfig
from dorib_locality.study import study
from fixtures.suites import manifest, write_manifest

CAPTIONS = ("a red star", "small blue ring")


def target_model(
    prediction: str = "epsilon", guidance_scale: float = 3.0, *, zeros: bool = True
) -> DiffusersModel:
    pipeline = sdxl.pipeline(prediction, zeros_for_empty_prompt=zeros)
    pipeline.set_progress_bar_config(disable=True)
    settings = SamplingSettings(height=32, width=48, steps=4, guidance_scale=guidance_scale)
    return DiffusersModel(pipeline, settings)


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(number) for number in range(len(CAPTIONS))]


def difference_from_diffusers(model: DiffusersModel) -> float:
    ours = model.sample(model.encode_prompt(CAPTIONS), generators(), torch.arange(len(CAPTIONS)))
    theirs: Tensor = model.pipeline(
        list(CAPTIONS),
        latents=torch.cat([initial_noise(model, generator) for generator in generators()]),
        height=model.sampling.height,
        width=model.sampling.width,
        num_inference_steps=model.sampling.steps,
        guidance_scale=model.sampling.guidance_scale,
        output_type="pt",
    ).images
    assert ours.shape == (2, 3, 32, 48)
    assert ours.std() > 0.01
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    "scheduler", [DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler]
)
def test_images_are_those_of_the_pipeline(
    scheduler: type, prediction: str, guidance_scale: float
) -> None:
    model = target_model(prediction, guidance_scale)
    config = {**model.pipeline.scheduler.config, "rescale_betas_zero_snr": False}
    model.pipeline.scheduler = scheduler.from_config(config)
    difference = difference_from_diffusers(model)
    print(f"\nSDXL, {scheduler.__name__}, {prediction}, {guidance_scale}: {difference:.1e}")
    assert difference <= 1e-4


def test_guidance_away_from_the_empty_prompt_itself() -> None:
    zeros, empty = target_model(zeros=True), target_model(zeros=False)
    assert difference_from_diffusers(empty) <= 1e-4
    images = [
        model.sample(model.encode_prompt(CAPTIONS), generators(), torch.arange(2))
        for model in (zeros, empty)
    ]
    assert not torch.allclose(*images)


def test_embeddings_name_what_each_encoder_gives() -> None:
    model = target_model()
    embeddings = model.encode_prompt(CAPTIONS)
    assert {name: tuple(value.shape) for name, value in embeddings.items()} == {
        "prompt_embeds": (2, 16, 64),
        "pooled_prompt_embeds": (2, 32),
    }


def test_gradients_reach_the_pooled_embeddings_too() -> None:
    model = target_model()
    embeddings = {
        name: value.clone().requires_grad_()
        for name, value in model.encode_prompt(CAPTIONS).items()
    }
    latents = torch.zeros(2, *model.latent_shape)
    noise = torch.cat([initial_noise(model, generator) for generator in generators()])
    losses = model.denoising_loss(
        latents, noise, torch.tensor([10, 500]), embeddings, torch.arange(2)
    )
    losses.sum().backward()
    for name, value in embeddings.items():
        assert value.grad is not None, name
        assert (value.grad.flatten(1).abs().sum(dim=1) > 0).all(), name


def test_loads_from_a_folder(tmp_path: Path) -> None:
    sdxl.pipeline().save_pretrained(tmp_path, safe_serialization=True)
    pipeline = load_pipeline(str(tmp_path), torch.device("cpu"), torch.float32)
    settings = SamplingSettings(height=32, width=48, steps=4, guidance_scale=3.0)
    assert difference_from_diffusers(DiffusersModel(pipeline, settings)) <= 1e-4


@pytest.fixture
def suite(suite_copy: Path) -> Path:
    """The random suite with an SDXL pipeline in place of its own, and no oracle."""
    shutil.rmtree(suite_copy / "pipeline")
    sdxl.pipeline().save_pretrained(suite_copy / "pipeline", safe_serialization=True)
    content = manifest() | {"oracle": None}
    # NeMo compares latents, which must not be too small for MS-SSIM.
    content["sampling"] |= {"height": 64, "width": 64}
    settings = {"path": "descriptor", "threshold": 0.5}
    write_manifest(suite_copy, content | {"descriptor": settings})
    return suite_copy


FINETUNE = (
    "adversarial-finetune:search=(dori:pairs=1),search_budget=3,epochs=1,surrogates=1,"
    "surrogate=(wanda:sparsity=0.1),general_images=2"
)
MITIGATIONS = [
    "prompt-filter",
    "wanda:sparsity=0.1",
    "wanda:scope=per_sample,sparsity=0.1",
    FINETUNE,
]


def options(suite: Path, out: Path, **changes: object) -> dict[str, object]:
    small = {"seeds": 1, "limit": 1, "budgets": [30]}
    return {"suite": str(suite), "out": out, **small, **changes}


def test_every_plugin_works_on_it(suite: Path, tmp_path: Path) -> None:
    attacks = ["dori:pairs=1", "dori:pairs=1,start=random", "transfer", "evolution"]
    asked = options(suite, tmp_path / "out", mitigation=MITIGATIONS, attack=attacks)
    result = run(make_config(asked), discover())
    assert len(result.entries) == (1 + len(MITIGATIONS)) * (1 + len(attacks))
    assert all(entry.errors == 0 for entry in result.entries)


@pytest.mark.slow
def test_nemo_works_on_it(suite: Path, tmp_path: Path) -> None:
    # Some thousand neurons are refined one by one: twelve transformer blocks a level.
    mitigation = ["nemo:threshold=0.01,theta_min=3"]
    result = run(make_config(options(suite, tmp_path / "out", mitigation=mitigation)), discover())
    assert all(entry.errors == 0 for entry in result.entries)


def test_locality_declines(suite: Path, tmp_path: Path) -> None:
    with pytest.raises(DoribError, match="two text encoders"):
        study(LocalityConfig(suite=str(suite), out=tmp_path / "out"), discover())


def test_an_attack_that_declares_one_embedding_alone_is_refused_before_the_run(
    built_in_plugins: list[EntryPoint], suite: Path, tiny_suite_folder: Path, tmp_path: Path
) -> None:
    registry = discover([*built_in_plugins, EntryPoint("unpooled", "fixtures.unpooled", "dorib")])
    asked = options(suite, tmp_path / "out", attack=["unpooled"])
    with pytest.raises(DoribError, match="attack unpooled: cannot work on pooled_prompt_embeds,"):
        run(make_config(asked), registry)
    assert not list((tmp_path / "out").rglob("*.png"))
    asked = options(tiny_suite_folder, tmp_path / "other", attack=["unpooled"], metric=["sscd"])
    assert all(entry.errors == 0 for entry in run(make_config(asked), registry).entries)
