"""Checkpoints that are broken, of another model or malicious: one line, and no work is done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures.pipelines import save_pipeline, unet
from safetensors.torch import load_file
from torch import Tensor

from dorib import DoribError
from dorib.cli.app import main
from dorib.config import make_config
from dorib.host.configure import configure
from dorib.host.registry import discover
from dorib.runner import run
from dorib.target.model import DiffusersModel
from dorib_checkpoint import CheckpointParams
from dorib_checkpoint.mitigation import Checkpoint
from fixtures.adapters import by_kohya, by_peft, factors_of, save, save_peft
from fixtures.planted import (
    another_shape,
    configuration,
    first_shard_elsewhere,
    index,
    lacks_a_tensor,
    linked_within,
    moved_out,
    one_number,
    scheduler,
    shards,
    unfused_adapter,
    with_tensors,
)

Make = Callable[[DiffusersModel, Path], Path]
"""Makes a checkpoint in a folder and names it."""


def pipeline_with(*damages: Callable[[Path], object]) -> Make:
    """A folder whose pipeline has another U-Net, and then is damaged."""

    def make(model: DiffusersModel, place: Path) -> Path:
        save_pipeline(place / "pipeline", seed=20)
        for damage in damages:
            damage(place)
        return place / "pipeline"

    return make


def unet_folder_with(*damages: Callable[[Path], object]) -> Make:
    whole = pipeline_with(*damages)
    return lambda model, place: whole(model, place) / "unet"


def weights_with(change: Callable[[dict[str, Tensor]], object]) -> Make:
    """A file of the U-Net's weights, changed."""

    def make(model: DiffusersModel, place: Path) -> Path:
        tensors = {name: value + 1 for name, value in model.weights().items()}
        change(tensors)
        return save(tensors, place / "unet.safetensors")

    return make


def lora_with(change: Callable[[dict[str, Tensor]], object], kohya: bool = False) -> Make:
    def make(model: DiffusersModel, place: Path) -> Path:
        factors = factors_of(model, text=False)
        tensors = by_kohya(model, factors, alpha=1.0) if kohya else by_peft(model, factors)
        change(tensors)
        return save(tensors, place / "lora.safetensors")

    return make


def peft_with(**entries: Any) -> Make:
    return lambda model, place: save_peft(
        model, factors_of(model, text=False), place / "peft", **entries
    )


def peft_damaged(damage: Callable[[Path], object]) -> Make:
    def make(model: DiffusersModel, place: Path) -> Path:
        folder = save_peft(model, factors_of(model, text=False), place / "peft")
        damage(folder)
        return folder

    return make


def with_entry(name: str, value: Tensor) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.update({name: value})


def renamed(old: str, new: str) -> Callable[[dict[str, Tensor]], object]:
    def change(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if old in name]:
            tensors[name.replace(old, new)] = tensors.pop(name)

    return change


def of_a_transformer(tensors: dict[str, Tensor]) -> None:
    for name in list(tensors):
        tensors[f"transformer.{name}"] = tensors.pop(name)


def without_one(part: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.pop(min(name for name in tensors if part in name))


def pickled(name: str) -> Make:
    def make(model: DiffusersModel, place: Path) -> Path:
        torch.save(dict(model.weights()), place / name)
        return place / name

    return make


def cut_off(model: DiffusersModel, place: Path) -> Path:
    path = save(dict(model.weights()), place / "unet.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    return path


def empty(model: DiffusersModel, place: Path) -> Path:
    return save({}, place / "empty.safetensors")


def empty_folder(model: DiffusersModel, place: Path) -> Path:
    (place / "nothing").mkdir()
    return place / "nothing"


def linked_out(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    target = folder.parent / "elsewhere" / "weights.safetensors"
    shutil.move(folder / "adapter_model.safetensors", target)
    (folder / "adapter_model.safetensors").symlink_to(target)


def a_pickle_beside(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    torch.save(tensors, folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()


def hidden_shard(place: Path) -> None:
    """A model's digest passes over hidden files, so none may hold weights."""
    folder = place / "pipeline" / "unet"
    shards("pipeline/unet")(place)
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    content = json.loads(index.read_text())
    first = min(content["weight_map"].values())
    (folder / first).rename(folder / f".{first}")
    places = content["weight_map"].items()
    content["weight_map"] = {n: f".{first}" if f == first else f for n, f in places}
    index.write_text(json.dumps(content))


def noted(text: str) -> Make:
    def make(model: DiffusersModel, place: Path) -> Path:
        tensors = by_peft(model, factors_of(model, text=False))
        return save(tensors, place / "lora.safetensors", {"lora_adapter_metadata": text})

    return make


def its_own(model: DiffusersModel, place: Path) -> Path:
    return save(dict(model.weights()), place / "unet.safetensors")


def nothing_added(tensors: dict[str, Tensor]) -> None:
    for name in tensors:
        if "lora_B" in name:
            tensors[name] = torch.zeros_like(tensors[name])


def other_unet(model: DiffusersModel, place: Path) -> Path:
    """Whole by itself, and of another text encoder's width."""
    with torch.random.fork_rng(devices=[]):
        other = type(unet(0)).from_config({**unet(0).config, "cross_attention_dim": 24})
    other.save_pretrained(place / "narrow", safe_serialization=True)
    return place / "narrow"


def autoencoder(model: DiffusersModel, place: Path) -> Path:
    return pipeline_with()(model, place) / "vae"


UNET = "pipeline/unet"
STEM = "unet.conv_in"
CASES: dict[str, tuple[Make, str]] = {
    "a tensor missing": (weights_with(lacks_a_tensor), r"lacks the tensor .*partial=true"),
    "a tensor too much": (
        weights_with(with_entry("conv_in.extra", torch.zeros(2))),
        r"the tensor conv_in\.extra that the suite's pipeline does not have",
    ),
    "an adapter that was not fused": (weights_with(unfused_adapter), r"lora_A\.weight that the"),
    "another shape": (weights_with(another_shape), r"has the shape \[.*\], and in the suite's"),
    "NaN": (weights_with(one_number(float("nan"))), "is not finite in float32"),
    "infinity": (weights_with(one_number(float("inf"))), "is not finite in float32"),
    "whole numbers": (
        weights_with(with_entry("conv_in.bias", torch.zeros(16, dtype=torch.int8))),
        r"conv_in\.bias holds torch\.int8",
    ),
    "one tensor by two names": (
        weights_with(with_entry("unet.conv_in.bias", torch.zeros(16))),
        r"conv_in\.bias stands there twice",
    ),
    "of another kind of model": (
        weights_with(of_a_transformer),
        "holds no tensor that a U-Net or text encoder",
    ),
    "the suite's own weights": (its_own, "nothing was mitigated"),
    "an empty file": (empty, "holds no tensor"),
    "a file cut off": (cut_off, "cannot be read as safetensors"),
    "a pickle": (pickled("unet.pt"), r"is no \.safetensors file"),
    "a pickle by another name": (pickled("unet.safetensors"), "cannot be read as safetensors"),
    "a folder with nothing in it": (empty_folder, "holds none of model_index.json"),
    "an index that leads out": (
        unet_folder_with(first_shard_elsewhere(UNET)),
        "which is no safetensors file of this folder",
    ),
    "an index that names a hidden file": (
        unet_folder_with(hidden_shard),
        "which is no safetensors file of this folder",
    ),
    "weights that are a link out of the folder": (
        unet_folder_with(moved_out(f"{UNET}/diffusion_pytorch_model.safetensors")),
        "is a link that leads out of",
    ),
    "a component that is a link": (pipeline_with(moved_out(UNET)), "is a link|leads out of"),
    "code in the configuration": (
        pipeline_with(configuration(UNET, auto_map={"AutoModel": "evil.Model"})),
        "asks for custom code",
    ),
    "a class from elsewhere": (pipeline_with(index(unet=["evil", "Net"])), "asks for custom code"),
    "a folder's tensor missing": (
        unet_folder_with(with_tensors(UNET, lacks_a_tensor)),
        "lacks 1 of the tensors",
    ),
    "a folder's NaN": (
        unet_folder_with(with_tensors(UNET, one_number(float("nan")))),
        "is not finite",
    ),
    "a U-Net of another width": (other_unet, r"has the shape \[.*, and in the suite's pipeline"),
    "an autoencoder": (autoencoder, "its config.json names Autoencoder"),
    "another prediction type": (
        pipeline_with(scheduler("DDIMScheduler", prediction_type="epsilon")),
        "was made to predict epsilon, and the suite's pipeline predicts v_prediction",
    ),
    "a LoRA's NaN": (lora_with(one_number(float("nan"))), "is not finite"),
    "a LoRA of another layer": (
        lora_with(renamed(STEM, "unet.conv_middle")),
        r"unet\.conv_middle\.lora_[AB]\.weight: is for a layer that the suite's pipeline does not",
    ),
    "a LoRA of another width": (
        lora_with(with_entry(f"{STEM}.lora_A.weight", torch.ones(2, 3, 3, 3))),
        r"conv_in: its matrices .* do not make up a weight \[16, 4, 3, 3\]",
    ),
    "a LoRA without its other half": (lora_with(without_one("lora_B")), "lacks its up matrix"),
    "a LoRA that adds nothing": (lora_with(nothing_added), "nothing was mitigated"),
    "two LoRAs in one file": (
        lora_with(with_entry(f"{STEM}.lora_A.second.weight", torch.ones(2, 4, 3, 3))),
        "there are two for that layer",
    ),
    "DoRA": (
        lora_with(with_entry(f"{STEM}.lora_magnitude_vector", torch.ones(16))),
        r"conv_in\.lora_magnitude_vector: is part of a DoRA",
    ),
    "kohya's DoRA": (
        lora_with(with_entry("lora_unet_conv_in.dora_scale", torch.ones(16)), kohya=True),
        r"lora_unet_conv_in\.dora_scale: is part of a DoRA",
    ),
    "a bias": (
        lora_with(with_entry(f"{STEM}.lora_B.bias", torch.ones(16))),
        r"conv_in\.lora_B\.bias: is part of a bias",
    ),
    "LoHa": (
        lora_with(with_entry("lora_unet_conv_in.hada_w1_a", torch.ones(2, 2)), kohya=True),
        "is part of a LoHa",
    ),
    "a convolution in three parts": (
        lora_with(with_entry("lora_unet_conv_in.lora_mid.weight", torch.ones(2, 2)), kohya=True),
        "is part of a convolution in three parts",
    ),
    "an alpha of several numbers": (
        lora_with(with_entry("lora_unet_conv_in.alpha", torch.ones(2)), kohya=True),
        "its alpha is no single number",
    ),
    "notes that are no JSON": (noted("{"), "lora_adapter_metadata is not readable as JSON"),
    "notes of a DoRA": (noted(json.dumps({"unet.use_dora": True, "unet.r": 2})), "a DoRA"),
    "PEFT's DoRA": (peft_with(use_dora=True), "use_dora asks for a DoRA"),
    "PEFT's biases": (peft_with(bias="all"), "biases are not read"),
    "PEFT's whole layers": (peft_with(modules_to_save=["conv_out"]), "modules_to_save"),
    "PEFT's PiSSA": (peft_with(init_lora_weights="pissa"), "init_lora_weights 'pissa'"),
    "another adapter of PEFT": (peft_with(peft_type="LOHA"), "peft_type is 'LOHA'"),
    "another rank than stated": (
        peft_with(r=3),
        r"has the rank 2, and the configuration says 3",
    ),
    "a rank pattern that is an expression": (
        peft_with(rank_pattern={"(a+)+": 2}),
        r"rank_pattern names '\(a\+\)\+', which is no layer's name",
    ),
    "a rank pattern that is no mapping": (
        peft_with(rank_pattern=[2]),
        "rank_pattern is no mapping",
    ),
    "an alpha that is no number": (peft_with(lora_alpha="four"), "must be a positive number"),
    "no alpha": (peft_with(lora_alpha=None), "lora_alpha is missing"),
    "code in PEFT's configuration": (
        peft_with(auto_mapping=None, auto_map={"a": "b.c"}),
        "asks for custom code",
    ),
    "PEFT's weights missing": (
        peft_damaged(lambda folder: (folder / "adapter_model.safetensors").unlink()),
        "is missing; restore the file",
    ),
    "PEFT's weights elsewhere": (peft_damaged(linked_out), "is a link that leads out of"),
    "PEFT's weights as a pickle": (peft_damaged(a_pickle_beside), "is missing; restore the file"),
    "PEFT's configuration cut off": (
        peft_damaged(lambda folder: (folder / "adapter_config.json").write_text("{")),
        "is not readable as JSON",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_in_one_line(case: str, tiny_model: DiffusersModel, tmp_path: Path) -> None:
    make, wanted = CASES[case]
    (tmp_path / "case").mkdir()
    path = make(tiny_model, tmp_path / "case")
    with pytest.raises(DoribError, match=wanted) as refusal:
        Checkpoint(CheckpointParams(path=path)).prepare(tiny_model)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_partial_is_of_weights_alone(tiny_model: DiffusersModel, tmp_path: Path) -> None:
    for number, make in enumerate((pipeline_with(), lora_with(lambda tensors: None))):
        place = tmp_path / str(number)
        place.mkdir()
        path = make(tiny_model, place)
        with pytest.raises(DoribError, match="partial=true is for weights by"):
            Checkpoint(CheckpointParams(path=path, partial=True)).prepare(tiny_model)


def test_a_link_within_the_folder_is_followed(tiny_model: DiffusersModel, tmp_path: Path) -> None:
    make = unet_folder_with(linked_within(f"{UNET}/diffusion_pytorch_model.safetensors"))
    Checkpoint(CheckpointParams(path=make(tiny_model, tmp_path))).prepare(tiny_model)


def test_through_the_command_line_it_is_refused_before_any_work(
    suite_copy: Path,
    tiny_model: DiffusersModel,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = weights_with(one_number(float("nan")))(tiny_model, tmp_path)
    places = (str(path), str(tmp_path / "missing"), '""')
    for place, wanted in zip(
        places, ("is not finite", "neither file nor", "is empty"), strict=True
    ):
        with pytest.raises(SystemExit) as exit:
            main(
                [
                    *("run", "--suite", str(suite_copy), "--out", str(tmp_path / "out")),
                    *("-m", f"checkpoint:path={place}", "--metric", "sscd"),
                ]
            )
        assert exit.value.code == 2
        printed = capfd.readouterr().err
        assert printed.startswith("dorib: error: ") and printed.count("\n") == 1, printed
        assert wanted in printed
    assert not list((tmp_path / "out").glob("store/edits/*"))
    assert not (tmp_path / "out" / "leaderboard.json").exists()


def test_it_is_labelled_by_name_and_keyed_by_content(
    tiny_model: DiffusersModel, tmp_path: Path
) -> None:
    def configured(path: Path) -> tuple[str, str]:
        spec = {"name": "checkpoint", "path": str(path)}
        config = make_config({"mitigation": [spec]})
        method = configure(discover(), "mitigation", config.mitigation[0])
        return method.label, method.fingerprint

    first = weights_with(lambda tensors: None)(tiny_model, tmp_path)
    (tmp_path / "b").mkdir()
    copy = Path(shutil.copy(first, tmp_path / "b"))
    assert configured(first) == configured(copy)
    assert configured(first)[0] == "checkpoint:path=unet.safetensors"
    save({"conv_in.bias": torch.zeros(16)}, copy)
    assert configured(first)[1] != configured(copy)[1]


def test_the_oracle_by_another_name_is_refused(suite_copy: Path, tmp_path: Path) -> None:
    """Though only what differs from the pipeline is in the edit."""
    oracle = suite_copy / "oracle" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(oracle)
    own = load_file(suite_copy / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors")
    tensors["conv_in.bias"] = own["conv_in.bias"]
    save(tensors, oracle)
    path = shutil.copytree(suite_copy / "oracle", tmp_path / "mine")
    options = {
        "suite": str(suite_copy),
        "out": str(tmp_path / "out"),
        "mitigation": [f"checkpoint:path={path}"],
        "metric": ["sscd"],
        "limit": 1,
        "seeds": 1,
    }
    result = run(make_config(options), discover())
    [reason] = result.failed
    assert "the weights of the suite's oracle" in reason
