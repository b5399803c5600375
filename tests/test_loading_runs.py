"""Through the command line: exit code 2, one line, no work done; a picture is never made black."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from dorib.cli.app import main
from dorib.ranking.entries import Entry
from dorib.target.model import DiffusersModel
from fixtures.planted import (
    Damage,
    configuration,
    first_shard_elsewhere,
    index,
    lacks_a_tensor,
    moved_out,
    one_number,
    scheduler,
    unfused_adapter,
    with_tensors,
)
from fixtures.suites import write_manifest

Run = Callable[..., tuple[int, str]]

REFUSED: dict[str, tuple[Damage, str]] = {
    "a text encoder without a tensor": (
        with_tensors("pipeline/text_encoder", lacks_a_tensor),
        "text_encoder: lacks 1 of the tensors",
    ),
    "a U-Net with an adapter": (with_tensors("pipeline/unet", unfused_adapter), "unet: "),
    "half an autoencoder": (with_tensors("pipeline/vae", lacks_a_tensor), "vae: lacks 1"),
    "an oracle without a tensor": (with_tensors("oracle", lacks_a_tensor), "oracle: lacks 1"),
    "an oracle of NaN": (with_tensors("oracle", one_number(float("nan"))), "not finite"),
    "a U-Net of NaN": (with_tensors("pipeline/unet", one_number(float("nan"))), "not finite"),
    "a descriptor of NaN": (with_tensors("descriptor", one_number(float("nan"))), "not finite"),
    "a CLIP of NaN": (with_tensors("clip", one_number(float("nan"))), "not finite"),
    "more steps than LCM has": (
        scheduler("LCMScheduler", original_inference_steps=2, prediction_type="epsilon"),
        "LCMScheduler with 3 steps",
    ),
    "EDM": (scheduler("EDMEulerScheduler", prediction_type="epsilon"), "alphas_cumprod"),
    "ONNX": (index(vae=["diffusers", "OnnxRuntimeModel"]), "OnnxRuntimeModel"),
    "an index that leads out": (first_shard_elsewhere("pipeline/text_encoder"), "no safetensors"),
    "attention of the hub": (
        configuration("pipeline/text_encoder", attn_implementation="evil/kernel:run"),
        "evil/kernel:run",
    ),
    "a link": (moved_out("pipeline/unet"), "link"),
}


@pytest.fixture
def dorib_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    def run(suite: Path, *options: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exit:
            main(["run", "--suite", str(suite), "--out", str(tmp_path / "out"), *options])
        assert isinstance(exit.value.code, int)
        printed = capfd.readouterr()
        return exit.value.code, printed.err if exit.value.code == 2 else printed.out + printed.err

    return run


@pytest.mark.parametrize("case", REFUSED)
def test_a_run_is_refused_before_any_work(
    case: str, suite_copy: Path, dorib_run: Run, tmp_path: Path
) -> None:
    damage, wanted = REFUSED[case]
    damage(suite_copy)
    code, printed = dorib_run(suite_copy)
    assert code == 2, printed
    assert printed.startswith("dorib: error: ")
    assert printed.count("\n") == 1, printed
    assert wanted in printed
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.parts[-3] for path in left} <= {"checks"}, left
    assert {path.name for path in left} <= {"key.json", "index.json"}


def entry(out: Path) -> Entry:
    return Entry.model_validate_json((out / "entries" / "none.none.json").read_text())


def test_an_image_that_is_not_finite_is_an_error(
    suite_copy: Path, dorib_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = yaml.safe_load((suite_copy / "suite.yaml").read_text())
    del content["oracle"]
    write_manifest(suite_copy, content)
    decode = DiffusersModel.decode

    def overflowing(self: DiffusersModel, latents: torch.Tensor) -> torch.Tensor:
        images = decode(self, latents)
        if len(latents) > 1:
            # Of the batch's first image alone.
            images[0, 0, 0, 0] = torch.nan
        return images

    with monkeypatch.context() as patch:
        patch.setattr(DiffusersModel, "decode", overflowing)
        _, printed = dorib_run(suite_copy, "--metric", "sscd")
    assert "generation failed for 1 images" in printed
    assert "not finite" in printed
    broken = entry(tmp_path / "out")
    assert broken.errors > 0
    assert not broken.ranked
    pictures = list((tmp_path / "out" / "store" / "images").rglob("*.png"))
    assert pictures
    dorib_run(suite_copy, "--metric", "sscd")
    assert entry(tmp_path / "out").errors == 0
    assert len(list((tmp_path / "out" / "store" / "images").rglob("*.png"))) > len(pictures)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_the_autoencoder_makes_of_too_much_is_not_finite(
    tiny_model: DiffusersModel, value: float
) -> None:
    latents = torch.zeros(2, *tiny_model.latent_shape)
    hook = tiny_model.pipeline.vae.decoder.register_forward_hook(
        lambda module, arguments, output: output.index_put((torch.tensor(1),), torch.tensor(value))
    )
    try:
        images = tiny_model.decode(latents)
    finally:
        hook.remove()
    assert images[0].isfinite().all()
    assert images[1].isnan().all()
