"""Stable Diffusion's true architectures: layers as published, and narrow models that run."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import torch

from dorib.contracts.suite_view import SamplingSettings
from dorib.target.model import DiffusersModel
from full_size.architectures import SD14, SD21, VOCABULARY, Architecture, narrowed, random_pipeline

STAGES = [f"down_blocks.{block}.attentions.{layer}" for block in range(3) for layer in range(2)]
STAGES += ["mid_block.attentions.0"]
STAGES += [f"up_blocks.{block}.attentions.{layer}" for block in (1, 2, 3) for layer in range(3)]
WIDTHS = [320, 320, 640, 640, 1280, 1280, 1280, *[1280] * 3, *[640] * 3, *[320] * 3]


def target(architecture: Architecture, steps: int = 2) -> DiffusersModel:
    side = architecture.side
    sampling = SamplingSettings(height=side, width=side, steps=steps, guidance_scale=7.5)
    return DiffusersModel(random_pipeline(architecture), sampling)


@pytest.fixture(scope="module", params=[SD14, SD21], ids=lambda one: one.name)
def full(request: pytest.FixtureRequest) -> tuple[Architecture, DiffusersModel]:
    """Of the true size, on the meta device: no memory, and no values."""
    with torch.device("meta"):
        return request.param, target(request.param)


def test_value_layers_are_the_published_ones(full: tuple[Architecture, DiffusersModel]) -> None:
    architecture, model = full
    layers = model.cross_attention_value_layers()
    assert list(layers) == [f"{stage}.transformer_blocks.0.attn2.to_v" for stage in STAGES]
    assert [layer.out_features for layer in layers.values()] == WIDTHS
    text_width = architecture.text_encoder["hidden_size"]
    assert {layer.in_features for layer in layers.values()} == {text_width}
    assert (
        text_width == {"Stable Diffusion 1.4": 768, "Stable Diffusion 2.1": 1024}[architecture.name]
    )


def test_nemo_s_layers_are_the_published_ones() -> None:
    with torch.device("meta"):
        layers = target(SD14).cross_attention_value_layers()
    nemo = {name: layer for name, layer in layers.items() if not name.startswith("up_blocks.")}
    places = [*(f"down_blocks.{b}.attentions.{a}" for b in (0, 1, 2) for a in (0, 1))]
    places += ["mid_block.attentions.0"]
    assert list(nemo) == [f"{place}.transformer_blocks.0.attn2.to_v" for place in places]
    widths = [layer.out_features for layer in nemo.values()]
    assert widths == [320, 320, 640, 640, 1280, 1280, 1280]


def test_feed_forward_layers_are_the_published_ones(
    full: tuple[Architecture, DiffusersModel],
) -> None:
    layers = full[1].feed_forward_layers()
    assert list(layers) == [f"{stage}.transformer_blocks.0.ff.net.2" for stage in STAGES]
    shapes = [list(layer.weight.shape) for layer in layers.values()]
    assert shapes == [[width, 4 * width] for width in WIDTHS]
    assert {tuple(shape) for shape in shapes} == {(320, 1280), (640, 2560), (1280, 5120)}
    assert len(layers) == 16


def test_parameters_are_as_many_as_published(full: tuple[Architecture, DiffusersModel]) -> None:
    architecture, model = full
    parts = (model.unet, model.pipeline.vae, model.pipeline.text_encoder)
    counts = [sum(parameter.numel() for parameter in part.parameters()) for part in parts]
    assert (
        counts
        == {
            "Stable Diffusion 1.4": [859_520_964, 83_653_863, 123_060_480],
            "Stable Diffusion 2.1": [865_910_724, 83_653_863, 340_387_840],
        }[architecture.name]
    )


def test_latents_and_schedule_are_the_published_ones(
    full: tuple[Architecture, DiffusersModel],
) -> None:
    architecture, model = full
    velocity = architecture is SD21
    assert model.latent_shape == ((4, 96, 96) if velocity else (4, 64, 64))
    assert model.prediction_type == ("v_prediction" if velocity else "epsilon")
    assert model.timesteps == 1000
    assert model.pipeline.vae.config.scaling_factor == 0.18215


def test_the_tokenizer_is_of_clip_s_size() -> None:
    with torch.device("meta"):
        words = random_pipeline(SD14).tokenizer
    ids = words(["a red barn", "a blue boat" * 20], truncation=True)["input_ids"]
    assert len(words) == VOCABULARY
    assert [row[0] for row in ids] == [VOCABULARY - 2] * 2
    assert [row[-1] for row in ids] == [VOCABULARY - 1] * 2
    assert len(ids[1]) == 77
    assert words.decode(ids[0], skip_special_tokens=True).strip() == "a red barn"


@pytest.mark.parametrize("architecture", [SD14, SD21], ids=lambda one: one.name)
def test_a_narrow_one_has_the_same_layers_and_runs(architecture: Architecture) -> None:
    model = target(narrowed(architecture))
    for layers in (model.cross_attention_value_layers(), model.feed_forward_layers()):
        assert [layer.out_features for layer in layers.values()] == [width // 8 for width in WIDTHS]
    names = chain(model.cross_attention_value_layers(), model.feed_forward_layers())
    assert [name.split(".transformer_blocks")[0] for name in names] == STAGES * 2
    embeddings = model.encode_prompt(["a red barn", "a blue boat"])
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    images = model.sample(embeddings, generators, torch.arange(2))
    assert images.shape == (2, 3, architecture.side // 8, architecture.side // 8)
    assert images.isfinite().all()
    assert (images[0] - images[1]).abs().max() > 1e-4


@pytest.mark.parametrize("architecture", ["sd14", "sd21"])
def test_every_plugin_runs_on_a_narrow_one(tmp_path: Path, architecture: str) -> None:
    command = [sys.executable, "-m", "full_size", "--narrow", "--work", str(tmp_path)]
    command += ["--architecture", architecture]
    benchmarks = Path(__file__).parents[1] / "benchmarks"
    subprocess.run(command, cwd=benchmarks, check=True, capture_output=True)
    rows = json.loads((tmp_path / "results.json").read_text())
    assert list(rows) == ["none", "wanda", "nemo", "adversarial-finetune"]
    assert all(row["wall_seconds"] > 0 and row["peak_gib"] > 0.1 for row in rows.values())
    entries = [json.loads(file.read_text()) for file in (tmp_path / "out/entries").glob("*.json")]
    assert len(entries) == 8
    assert all(entry["errors"] == 0 for entry in entries)
