"""Loading a pipeline: whole ones only, no code and no pickles from outside, one line otherwise."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from dorib.errors import DoribError
from dorib.target.loading import load_pipeline, load_unet_weights
from dorib.testing.pipelines import Prediction
from fixtures.suites import write_manifest

WEIGHTS = "diffusion_pytorch_model.safetensors"
CODE = """
from pathlib import Path
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
Path(__file__).with_name("executed").touch()
class Mine(StableDiffusionPipeline): ...
class MyUNet(UNet2DConditionModel): ...
"""


@pytest.fixture
def folder(tiny_pipeline_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_pipeline_folder, tmp_path / "pipeline"))


def update(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def pickle_instead(folder: Path) -> None:
    weights = folder / "unet" / WEIGHTS
    torch.save(load_file(weights), folder / "unet" / "diffusion_pytorch_model.bin")
    weights.unlink()


def cut_off(folder: Path) -> None:
    weights = folder / "unet" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1000])


def own_pipeline_class(folder: Path) -> None:
    (folder / "mine.py").write_text(CODE)
    update(folder / "model_index.json", _class_name=["mine", "Mine"])


def own_unet_class(folder: Path) -> None:
    (folder / "unet" / "mine.py").write_text(CODE)
    update(folder / "model_index.json", unet=["mine", "MyUNet"])


def inpainting(folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        unet = UNet2DConditionModel.from_pretrained(folder / "unet")
        config = {**unet.config, "in_channels": 9}
        UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")


def second_text_encoder(folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        unet = UNet2DConditionModel.from_pretrained(folder / "unet")
        extra = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 64,
        }
        UNet2DConditionModel.from_config({**unet.config, **extra}).save_pretrained(folder / "unet")


def flow_matching(folder: Path) -> None:
    scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    update(folder / "model_index.json", scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "not there": (shutil.rmtree, "cannot be loaded"),
    "no index": (lambda f: (f / "model_index.json").unlink(), "model_index.json"),
    "no JSON": (lambda f: (f / "model_index.json").write_text("{"), "model_index.json"),
    "unknown class": (
        lambda f: update(f / "model_index.json", _class_name="NoSuchPipeline"),
        "NoSuchPipeline",
    ),
    "unknown scheduler": (
        lambda f: update(f / "model_index.json", scheduler=["diffusers", "NoSuch"]),
        "NoSuch",
    ),
    "weights missing": (lambda f: (f / "unet" / WEIGHTS).unlink(), WEIGHTS),
    "weights cut off": (cut_off, WEIGHTS),
    "weights as a pickle only": (pickle_instead, WEIGHTS),
    "weights of another shape": (
        lambda f: update(f / "unet" / "config.json", block_out_channels=[32, 32, 32, 32]),
        "shape",
    ),
    "code for the pipeline": (own_pipeline_class, "custom code"),
    "code for the U-Net": (own_unet_class, "custom code"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "tokenizer is missing"),
    "no autoencoder": (
        lambda f: update(f / "model_index.json", vae=[None, None]),
        "names no vae",
    ),
    "an inpainting U-Net": (inpainting, "9 channels"),
    "no second text encoder": (second_text_encoder, "has no text_encoder_2"),
    "flow matching": (flow_matching, "a scheduler that predicts none of"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_whole_pipeline_is_refused_in_one_line(folder: Path, damage: str) -> None:
    act, says = DAMAGES[damage]
    act(folder)
    with pytest.raises(DoribError) as refusal:
        load_pipeline(str(folder), torch.device("cpu"), torch.float32)
    message = str(refusal.value)
    assert message.startswith(f"pipeline {folder}: ")
    assert says in message
    assert "\n" not in message
    assert not list(folder.rglob("executed")), "code from the folder was run"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loads_in_the_dtype_asked_for(folder: Path, dtype: torch.dtype) -> None:
    pipeline = load_pipeline(str(folder), torch.device("cpu"), dtype)
    for part in (pipeline.unet, pipeline.text_encoder):
        assert part.dtype == dtype


def test_the_autoencoder_keeps_every_digit_of_its_weights(folder: Path) -> None:
    cpu = torch.device("cpu")
    half, full = (load_pipeline(str(folder), cpu, d).vae for d in (torch.bfloat16, torch.float32))
    weights = full.state_dict()
    assert {value.dtype for value in half.state_dict().values()} == {torch.float32}
    assert all(torch.equal(value, weights[name]) for name, value in half.state_dict().items())


def test_weights_of_a_unet_are_read_as_float32(folder: Path) -> None:
    weights = load_unet_weights(folder / "unet")
    reference = UNet2DConditionModel.from_pretrained(folder / "unet").state_dict()
    assert weights.keys() == reference.keys()
    assert all(torch.equal(weights[name], reference[name]) for name in reference)


@pytest.mark.parametrize("damage", [cut_off, lambda f: (f / "unet" / WEIGHTS).unlink()])
def test_damaged_weights_of_a_unet_are_refused(
    folder: Path, damage: Callable[[Path], object]
) -> None:
    damage(folder)
    with pytest.raises(DoribError, match="restore") as refusal:
        load_unet_weights(folder / "unet")
    assert str(folder / "unet" / WEIGHTS) in str(refusal.value)


def test_a_pipeline_of_the_hub_s_cache_is_known_by_its_commit(
    suite_copy: Path, pipeline_folders: dict[Prediction, Path], tmp_path: Path
) -> None:
    cached = tmp_path / "home" / "hub" / "models--own--model"
    for commit, folder in zip(("1" * 40, "2" * 40), pipeline_folders.values(), strict=True):
        shutil.copytree(folder, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    shutil.rmtree(suite_copy / "pipeline")
    content = yaml.safe_load((suite_copy / "suite.yaml").read_text())
    write_manifest(suite_copy, content | {"pipeline": "own/model"})
    environment = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", "from dorib.cli.app import main; main()", "run"]
    command += ["--suite", str(suite_copy), "--limit", "1", "--metric", "sscd", "--out"]

    def digests(commit: str) -> tuple[str, str]:
        (cached / "refs" / "main").write_text(commit)
        # Results of two models stand on no board together.
        out = tmp_path / commit[:4]
        run = [*command, str(out)]
        subprocess.run(run, check=True, capture_output=True, env=os.environ | environment)
        entry = json.loads((out / "entries" / "none.none.json").read_text())
        return entry["digests"]["model"], entry["digests"]["images"]

    first, second = digests("1" * 40), digests("2" * 40)
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert digests("1" * 40) == first
