"""A model that was mitigated elsewhere: every form gives the edit it was made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from conftest import MakeModel
from dorib import (
    AddLowRank,
    DefenderView,
    DoribError,
    Edit,
    Ledger,
    ReplaceWeights,
    Seeds,
)
from dorib.contracts.suite_view import SamplingSettings
from dorib.target.exchange.folding import as_new_weights, replacement
from dorib.target.model import DiffusersModel
from dorib_checkpoint import CheckpointParams
from dorib_checkpoint.mitigation import Checkpoint
from fixtures import sdxl
from fixtures.adapters import (
    CONVOLUTION,
    LINEAR,
    Factors,
    by_kohya,
    by_peft,
    by_processors,
    factors_of,
    save,
    save_peft,
    scaled,
)
from fixtures.edits import global_edit
from fixtures.single_file import save_single_file
from fixtures.suites import SIDE

PROMPTS = ["a red star", "a tree"]


def images(model: DiffusersModel, edit: Edit) -> Tensor:
    with model.edited(edit):
        generators = [torch.Generator().manual_seed(number) for number in range(len(PROMPTS))]
        embeddings = model.encode_prompt(PROMPTS)
        return model.sample(embeddings, generators, torch.arange(len(PROMPTS)))


def read(path: Path, model: DiffusersModel, *, partial: bool = False) -> Edit:
    method = Checkpoint(CheckpointParams(path=path, partial=partial))
    ledger = Ledger()
    with model.counting(ledger):
        method.prepare(model)
        edit = method.fit(model, DefenderView((), ()), Seeds(0), ledger)
    assert ledger.work == 0
    return edit


def save_edited(model: DiffusersModel, edit: Edit, folder: Path) -> Path:
    """The whole pipeline under the edit."""
    with model.edited(Edit(replacement(as_new_weights(model, edit)))):
        model.pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture
def edit(tiny_model: DiffusersModel) -> Edit:
    return Edit(AddLowRank(factors_of(tiny_model)))


@pytest.fixture
def folder(tiny_model: DiffusersModel, edit: Edit, tmp_path: Path) -> Path:
    return save_edited(tiny_model, edit, tmp_path / "mitigated")


def names_of(edit: Edit) -> set[str]:
    assert isinstance(edit.change, ReplaceWeights)
    return set(edit.change.weights)


def test_a_pipeline_s_folder_gives_what_differs_and_the_same_images(
    tiny_model: DiffusersModel, edit: Edit, folder: Path
) -> None:
    found = read(folder, tiny_model)
    assert isinstance(edit.change, AddLowRank)
    assert names_of(found) == {f"{name}.weight" for name in edit.change.factors}
    assert torch.equal(images(tiny_model, found), images(tiny_model, edit))


@pytest.mark.parametrize("component", ["unet", "text_encoder"])
@pytest.mark.parametrize("as_file", [False, True])
def test_a_component_alone_is_told_by_its_tensors(
    component: str, as_file: bool, tiny_model: DiffusersModel, edit: Edit, folder: Path
) -> None:
    place = folder / component
    if as_file:
        [place] = place.glob("*.safetensors")
        place = place.rename(folder / "weights.safetensors")
    else:
        place = place.rename(folder / "of-someone")
    found = read(place, tiny_model)
    assert isinstance(edit.change, AddLowRank)
    of_text = component == "text_encoder"
    own = {n: f for n, f in edit.change.factors.items() if n.startswith("text_encoder") == of_text}
    assert names_of(found) == {f"{name}.weight" for name in own}
    assert torch.equal(images(tiny_model, found), images(tiny_model, Edit(AddLowRank(own))))


def test_a_pipeline_in_one_file(
    tiny_model: DiffusersModel, edit: Edit, folder: Path, tmp_path: Path
) -> None:
    from diffusers import StableDiffusionPipeline

    edited = StableDiffusionPipeline.from_pretrained(folder)
    file = save_single_file(edited, tmp_path / "one.safetensors")
    assert torch.equal(images(tiny_model, read(file, tiny_model)), images(tiny_model, edit))


def test_a_u_net_alone_in_the_original_form(
    tiny_model: DiffusersModel, edit: Edit, folder: Path, tmp_path: Path
) -> None:
    from diffusers import StableDiffusionPipeline

    edited = StableDiffusionPipeline.from_pretrained(folder)
    tensors = load_file(save_single_file(edited, tmp_path / "one.safetensors"))
    own = {n: v for n, v in tensors.items() if n.startswith("model.diffusion_model.")}
    found = read(save(own, tmp_path / "unet.safetensors"), tiny_model)
    assert names_of(found) and not any(n.startswith("text_encoder") for n in names_of(found))


def test_half_precision_that_rounds_to_nothing_changes_nothing(
    make_model: MakeModel, tmp_path: Path
) -> None:
    """What differs is told in the number format of the model."""
    model = make_model()
    model.pipeline.unet.to(torch.bfloat16)
    tensors = {name: value.float() for name, value in model.weights().items()}
    tensors["conv_in.bias"] += tensors["conv_in.bias"].abs() * 1e-4
    path = save(tensors, tmp_path / "unet.safetensors")
    with pytest.raises(DoribError, match="as they are, so nothing was mitigated"):
        read(path, model)
    tensors["conv_in.bias"] += 0.25
    assert names_of(read(save(tensors, path), model)) == {"conv_in.bias"}


WRITERS: dict[str, Callable[[DiffusersModel, Factors], dict[str, Tensor]]] = {
    "diffusers, by PEFT": by_peft,
    "diffusers before PEFT": by_processors,
    "kohya": by_kohya,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_lora_is_the_same_by_every_program(
    writer: str, tiny_model: DiffusersModel, edit: Edit, tmp_path: Path
) -> None:
    assert isinstance(edit.change, AddLowRank)
    tensors = WRITERS[writer](tiny_model, edit.change.factors)
    found = read(save(tensors, tmp_path / "lora.safetensors"), tiny_model)
    assert isinstance(found.change, AddLowRank)
    assert set(found.change.factors) == set(edit.change.factors)
    assert torch.equal(images(tiny_model, found), images(tiny_model, edit))


def test_a_lora_of_a_u_net_whose_names_do_not_say_so(
    tiny_model: DiffusersModel, tmp_path: Path
) -> None:
    factors = factors_of(tiny_model, text=False)
    tensors = {
        name.removeprefix("unet."): value
        for name, value in by_processors(tiny_model, factors).items()
    }
    found = read(save(tensors, tmp_path / "attn.safetensors"), tiny_model)
    assert isinstance(found.change, AddLowRank)
    assert set(found.change.factors) == set(factors)


def test_kohya_s_alpha_is_part_of_up(
    tiny_model: DiffusersModel, edit: Edit, tmp_path: Path
) -> None:
    assert isinstance(edit.change, AddLowRank)
    tensors = by_kohya(tiny_model, edit.change.factors, alpha=0.5)
    found = read(save(tensors, tmp_path / "lora.safetensors"), tiny_model)
    wanted = Edit(scaled(edit.change, 0.5 / 2))
    assert torch.equal(images(tiny_model, found), images(tiny_model, wanted))


def test_what_diffusers_notes_of_alpha_is_part_of_up(
    tiny_model: DiffusersModel, tmp_path: Path
) -> None:
    factors = factors_of(tiny_model, text=False)
    noted = {"unet.r": 2, "unet.lora_alpha": 8, "unet.alpha_pattern": {"conv_in": 1}}
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(noted)}
    path = save(by_peft(tiny_model, factors), tmp_path / "lora.safetensors", metadata)
    change = read(path, tiny_model).change
    assert isinstance(change, AddLowRank)
    assert torch.equal(change.factors[CONVOLUTION][0], factors[CONVOLUTION][0] * 0.5)
    assert torch.equal(change.factors[LINEAR][0], factors[LINEAR][0] * 4)


def test_peft_s_patterns_are_read(tiny_model: DiffusersModel, tmp_path: Path) -> None:
    factors = factors_of(tiny_model, text=False)
    up, down = factors[LINEAR]
    factors[LINEAR] = torch.cat([up, up], dim=1), torch.cat([down, down])
    entries = {
        "r": 2,
        "rank_pattern": {"attn2.to_v": 4},
        "lora_alpha": 4,
        "alpha_pattern": {"^" + LINEAR: 16, "^to_v": 3},
        "use_rslora": True,
    }
    change = read(save_peft(tiny_model, factors, tmp_path / "peft", **entries), tiny_model).change
    assert isinstance(change, AddLowRank)
    assert torch.allclose(change.factors[LINEAR][0], factors[LINEAR][0] * 16 / 2)
    assert torch.allclose(change.factors[CONVOLUTION][0], factors[CONVOLUTION][0] * 4 / 2**0.5)


def test_a_peft_adapter_of_the_text_encoder(tiny_model: DiffusersModel, tmp_path: Path) -> None:
    factors = {n: f for n, f in factors_of(tiny_model).items() if n.startswith("text_encoder")}
    folder = save_peft(tiny_model, factors_of(tiny_model, text=False), tmp_path / "peft")
    tensors = {
        name.replace("text_encoder.", "base_model.model."): value
        for name, value in by_peft(tiny_model, factors).items()
    }
    save(tensors, folder / "adapter_model.safetensors")
    change = read(folder, tiny_model).change
    assert isinstance(change, AddLowRank)
    assert set(change.factors) == set(factors)


def test_a_file_of_what_was_changed_alone(tiny_model: DiffusersModel, tmp_path: Path) -> None:
    edit = global_edit(tiny_model, "replace")
    assert isinstance(edit.change, ReplaceWeights)
    path = save(edit.change.weights, tmp_path / "part.safetensors")
    with pytest.raises(DoribError, match=r"lacks .* tensors.*partial=true"):
        read(path, tiny_model)
    found = read(path, tiny_model, partial=True)
    assert torch.equal(images(tiny_model, found), images(tiny_model, edit))


def test_names_that_say_whose_they_are(tiny_model: DiffusersModel, tmp_path: Path) -> None:
    weights = tiny_model.weights("text_encoder")
    name = next(name for name in weights if name.endswith("fc2.weight"))
    other = name.removeprefix("text_model.") if "text_model." in name else f"text_model.{name}"
    tensors = {
        "unet.conv_in.bias": tiny_model.weights()["conv_in.bias"] + 1,
        f"text_encoder.{other}": -weights[name],
        "text_encoder.text_model.embeddings.position_ids": torch.arange(4)[None],
    }
    path = save(tensors, tmp_path / "both.safetensors")
    found = read(path, tiny_model, partial=True)
    assert names_of(found) == {"conv_in.bias", f"text_encoder.{name}"}


@pytest.fixture(scope="module")
def sdxl_model() -> DiffusersModel:
    sampling = SamplingSettings(height=SIDE, width=SIDE, steps=2, guidance_scale=3.0)
    return DiffusersModel(sdxl.pipeline(), sampling)


@pytest.mark.parametrize("component", ["text_encoder", "text_encoder_2"])
def test_sdxl_s_text_encoders_are_told_apart(
    component: str, sdxl_model: DiffusersModel, tmp_path: Path
) -> None:
    name = min(n for n in sdxl_model.weights(component) if n.endswith("fc1.weight"))
    changed = {f"{component}.{name}": sdxl_model.weights(component)[name] * 2}
    folder = save_edited(sdxl_model, Edit(ReplaceWeights(changed)), tmp_path / "xl")
    for place in (folder, folder / component, folder / component / "model.safetensors"):
        assert names_of(read(place, sdxl_model)) == set(changed)


def test_both_of_sdxl_s_encoders_in_a_lora(sdxl_model: DiffusersModel, tmp_path: Path) -> None:
    tensors, wanted = {}, set()
    for number, component in ((1, "text_encoder"), (2, "text_encoder_2")):
        weights = sdxl_model.weights(component)
        name = min(n for n in weights if n.endswith("fc1.weight")).removesuffix(".weight")
        flat = name.removeprefix("text_model.").replace(".", "_")
        weight = weights[f"{name}.weight"]
        stem = f"lora_te{number}_text_model_{flat}"
        tensors[f"{stem}.lora_down.weight"] = torch.ones(1, weight.shape[1])
        tensors[f"{stem}.lora_up.weight"] = torch.ones(weight.shape[0], 1)
        wanted.add(f"{component}.{name}")
    change = read(save(tensors, tmp_path / "lora.safetensors"), sdxl_model).change
    assert isinstance(change, AddLowRank)
    assert set(change.factors) == wanted
