"""A whole pipeline in one safetensors file: the same tensors as from its folder, or one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from dorib.cli.app import main
from dorib.errors import DoribError
from dorib.suites.suite import Suite
from dorib.target.loading import load_pipeline
from dorib.testing.pipelines import pipeline
from fixtures.planted import update
from fixtures.single_file import save_single_file
from fixtures.suites import write_manifest

PREFIX = "model.diffusion_model."


@pytest.fixture(scope="module")
def original() -> StableDiffusionPipeline:
    return pipeline("epsilon", vae="kl")


@pytest.fixture
def single_file(original: StableDiffusionPipeline, tmp_path: Path) -> Path:
    return save_single_file(original, tmp_path / "model.safetensors")


@pytest.fixture
def folder(original: StableDiffusionPipeline, tmp_path: Path) -> Path:
    """Configurations and tokenizer, and no weights."""
    original.save_pretrained(tmp_path / "config", safe_serialization=True)
    for weights in (tmp_path / "config").rglob("*.safetensors"):
        weights.unlink()
    return tmp_path / "config"


def load(
    file: Path, folder: Path | None, dtype: torch.dtype = torch.float32
) -> StableDiffusionPipeline:
    configuration = str(folder) if folder else None
    return load_pipeline(str(file), torch.device("cpu"), dtype, configuration=configuration)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_tensor_is_the_folder_s(
    original: StableDiffusionPipeline, single_file: Path, folder: Path, dtype: torch.dtype
) -> None:
    found = load(single_file, folder, dtype)
    for part in ("unet", "vae", "text_encoder"):
        kept = torch.float32 if part == "vae" else dtype
        expected = {
            name: value.to(kept) for name, value in getattr(original, part).state_dict().items()
        }
        tensors = getattr(found, part).state_dict()
        assert tensors.keys() == expected.keys()
        assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert found.tokenizer("a cat").input_ids == original.tokenizer("a cat").input_ids
    assert dict(found.scheduler.config)["beta_end"] == original.scheduler.config["beta_end"]


def changed(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path, Path], None]:
    def damage(file: Path, folder: Path) -> None:
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file)

    return damage


def without(*starts: str) -> Callable[[Path, Path], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if name.startswith(starts)]:
            del tensors[name]

    return changed(change)


DAMAGES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "no U-Net": (without(PREFIX), "holds 0 tensors of a U-Net"),
    "a tensor of the U-Net missing": (
        without(f"{PREFIX}out.2.bias"),
        "tensors of a U-Net, but its pipeline_config asks for",
    ),
    "a tensor of the text encoder missing": (
        without("cond_stage_model.transformer.text_model.final_layer_norm.bias"),
        "lacks 1 of the tensors|cannot be loaded",
    ),
    "half of the autoencoder missing": (
        without("first_stage_model.decoder.up."),
        "lacks|cannot be loaded",
    ),
    "an adapter that was not fused": (
        changed(lambda t: t.update({f"{PREFIX}out.2.lora_down.weight": torch.zeros(1)})),
        "no layer of it takes",
    ),
    "a tensor too much": (
        changed(lambda t: t.update({f"{PREFIX}out.3.weight": torch.zeros(1)})),
        "tensors of a U-Net, but its pipeline_config asks for",
    ),
    "NaN": (
        changed(lambda t: t[f"{PREFIX}out.2.bias"].fill_(torch.nan)),
        "unet: conv_out.bias is not finite",
    ),
    "another shape": (
        changed(lambda t: t.update({f"{PREFIX}out.2.bias": torch.zeros(9)})),
        "cannot be loaded",
    ),
    "cut off": (
        lambda file, folder: file.write_bytes(file.read_bytes()[:-100]),
        "cannot be read as safetensors",
    ),
    "a pickle": (
        lambda file, folder: torch.save({"a": torch.zeros(1)}, file),
        "cannot be read as safetensors",
    ),
    "configuration of another U-Net": (
        lambda file, folder: update(folder / "unet" / "config.json", layers_per_block=1),
        "tensors of a U-Net, but its pipeline_config asks for",
    ),
    "code in the configuration": (
        lambda file, folder: update(folder / "model_index.json", unet=["mine", "Mine"]),
        "custom code",
    ),
    "attention of the hub": (
        lambda file, folder: update(
            folder / "text_encoder" / "config.json", attn_implementation="evil/kernel:run"
        ),
        "asks for the attention",
    ),
    "no tokenizer": (
        lambda file, folder: shutil.rmtree(folder / "tokenizer"),
        "tokenizer is missing",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_whole_is_refused_in_one_line(
    damage: str, single_file: Path, folder: Path
) -> None:
    act, wanted = DAMAGES[damage]
    act(single_file, folder)
    with pytest.raises(DoribError) as refusal:
        load(single_file, folder)
    message = str(refusal.value)
    assert any(one in message for one in wanted.split("|")), message
    assert "\n" not in message


def test_without_a_configuration_it_says_what_is_needed(single_file: Path) -> None:
    with pytest.raises(DoribError, match="a single file, which needs a pipeline_config"):
        load(single_file, None)


def test_a_checkpoint_that_is_no_safetensors_is_not_opened(tmp_path: Path, folder: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "model.ckpt")
    with pytest.raises(DoribError, match=r"is no \.safetensors file"):
        load(tmp_path / "model.ckpt", folder)


@pytest.mark.parametrize("absolute", [False, True])
def test_a_run_on_a_single_file(
    absolute: bool, suite_copy: Path, tmp_path: Path, single_file: Path, folder: Path
) -> None:
    shutil.rmtree(suite_copy / "pipeline")
    content = yaml.safe_load((suite_copy / "suite.yaml").read_text())
    content |= {"pipeline": str(single_file), "pipeline_config": str(folder)}
    if not absolute:
        shutil.move(single_file, suite_copy / "model.safetensors")
        shutil.move(folder, suite_copy / "config")
        content |= {"pipeline": "model.safetensors", "pipeline_config": "config"}
    write_manifest(suite_copy, content)
    digest = Suite.load(suite_copy).digest()
    with pytest.raises(SystemExit) as exit:
        main(
            [
                *("run", "--suite", str(suite_copy), "--out", str(tmp_path / "out")),
                *("--limit", "1", "--seeds", "1", "--metric", "sscd", "--offline"),
            ]
        )
    assert exit.value.code == 0
    assert (tmp_path / "out" / "entries" / "none.none.json").exists()
    place = folder if absolute else suite_copy / "config"
    update(place / "scheduler" / "scheduler_config.json", beta_end=0.02)
    assert Suite.load(suite_copy).digest() != digest
