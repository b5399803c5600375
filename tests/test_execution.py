"""Ways to run the model that take less memory or time, and change nothing but rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from dorib.config import make_config
from dorib.contracts.edits import Edit
from dorib.contracts.ledger import Ledger
from dorib.host.registry import discover
from dorib.runner import run
from dorib.target.model import DiffusersModel
from fixtures.edits import KINDS, global_edit, per_sample_edit

MakeModel = Callable[..., DiffusersModel]
CAPTIONS = ("a red star", "small blue ring", "moon over the sea")


def images(model: DiffusersModel) -> Tensor:
    count = len(CAPTIONS)
    generators = [torch.Generator().manual_seed(number) for number in range(count)]
    return model.sample(model.encode_prompt(CAPTIONS), generators, torch.arange(count))


def gradient(model: DiffusersModel) -> Tensor:
    """Of the denoising losses, with respect to the embeddings."""
    count = len(CAPTIONS)
    embeddings = model.encode_prompt(CAPTIONS)["prompt_embeds"].clone().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn((2, count, *model.latent_shape), generator=generator)
    losses = model.denoising_loss(
        latents,
        noise,
        torch.tensor([900, 500, 100]),
        {"prompt_embeds": embeddings},
        torch.arange(count),
    )
    losses.sum().backward()
    assert embeddings.grad is not None
    return embeddings.grad


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_sliced_and_offloaded_models_give_the_same_images(
    make_model: MakeModel, prediction: Literal["epsilon", "v_prediction"]
) -> None:
    model = make_model(prediction)
    expected = images(model)
    model.enable_vae_slicing()
    assert (images(model) - expected).abs().max() <= 1e-5
    model.enable_offload()
    assert (images(model) - expected).abs().max() <= 1e-5
    at_rest = [*model.pipeline.vae.parameters(), *model.pipeline.text_encoder.parameters()]
    assert {parameter.device.type for parameter in at_rest} == {"meta"}
    assert model.encode_image(expected).shape == (3, *model.latent_shape)


def test_convolutions_with_the_channels_last_give_the_same_images_and_gradients(
    make_model: MakeModel,
) -> None:
    model, plain = make_model(), make_model()
    model.enable_channels_last()
    kernels = [
        value for value in model.unet.parameters() if value.ndim == 4 and value[0, 0].numel() > 1
    ]
    assert kernels
    assert all(value.is_contiguous(memory_format=torch.channels_last) for value in kernels)
    assert (images(model) - images(plain)).abs().max() <= 1e-4
    assert torch.allclose(gradient(model), gradient(plain), rtol=1e-3, atol=1e-6)
    assert_same_under(per_sample_edit(plain, "mask", len(CAPTIONS)), model, plain)
    assert_same_under(global_edit(plain, "replace"), model, plain)


# The compiler's front end decides whether hooks are seen. Each of its traces takes seconds, code
# generation minutes: hence the backends, and one edit here against all of them weekly.
def test_an_edit_made_after_compiling_acts_and_work_is_counted(make_model: MakeModel) -> None:
    model, plain = make_model(), make_model()
    model.compile(backend="eager")
    ours, expected = Ledger(), Ledger()
    with model.counting(ours), plain.counting(expected):
        assert (images(model) - images(plain)).abs().max() <= 1e-4
        assert_same_under(per_sample_edit(plain, "mask", len(CAPTIONS)), model, plain)
    assert ours.work_of(0) == expected.work_of(0) > 0


@pytest.mark.slow
def test_every_edit_made_after_compiling_acts(make_model: MakeModel) -> None:
    model, plain = make_model(), make_model()
    model.compile(backend="aot_eager")
    edits = [
        *(global_edit(plain, kind) for kind in ("mask", "replace", "scale")),
        *(per_sample_edit(plain, kind, len(CAPTIONS)) for kind in KINDS),
    ]
    unedited = images(plain)
    assert (images(model) - unedited).abs().max() <= 1e-4
    for edit in edits:
        assert_same_under(edit, model, plain)
        with plain.edited(edit), model.edited(edit):
            assert torch.allclose(gradient(model), gradient(plain), rtol=1e-3, atol=1e-6)
    assert (images(model) - unedited).abs().max() <= 1e-4


def assert_same_under(edit: Edit, model: DiffusersModel, plain: DiffusersModel) -> None:
    with plain.edited(edit), model.edited(edit):
        expected = images(plain)
        assert (images(model) - expected).abs().max() <= 1e-4


def test_a_run_that_saves_memory_ends_as_any_other(tiny_suite_folder: Path, tmp_path: Path) -> None:
    options = {"suite": str(tiny_suite_folder), "metric": ["sscd"], "limit": 1, "attack": ["dori"]}
    saving = {
        "gradient_checkpointing": True,
        "vae_slicing": True,
        "offload": True,
        "channels_last": True,
    }
    plain = run(make_config({**options, "out": str(tmp_path / "plain")}), discover())
    saved = run(make_config({**options, **saving, "out": str(tmp_path / "saved")}), discover())
    for ours, expected in zip(saved.entries, plain.entries, strict=True):
        assert ours.errors == expected.errors == 0
        assert ours.curve == expected.curve


@pytest.mark.slow
def test_a_compiled_run_ends_as_any_other(tiny_suite_folder: Path, tmp_path: Path) -> None:
    options = {
        "suite": str(tiny_suite_folder),
        "metric": ["sscd"],
        "limit": 1,
        "mitigation": ["wanda:sparsity=0.1"],
        "attack": ["dori"],
    }
    plain = run(make_config({**options, "out": str(tmp_path / "plain")}), discover())
    ours = run(make_config({**options, "compile": True, "out": str(tmp_path / "ours")}), discover())
    for one, expected in zip(ours.entries, plain.entries, strict=True):
        assert one.errors == 0
        assert one.memorization_rate == expected.memorization_rate
