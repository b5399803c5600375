"""The fixtures are what they claim to be: the true architecture, and a complete suite."""

from __future__ import annotations

from pathlib import Path

import torch

from dorib.suites.images import read_image
from dorib.suites.suite import Suite
from dorib.target.model import DiffusersModel


def test_unet_has_the_layers_of_stable_diffusion(tiny_model: DiffusersModel) -> None:
    values = list(tiny_model.cross_attention_value_layers())
    assert len([name for name in values if not name.startswith("up_blocks")]) == 7
    assert len(values) == len(tiny_model.feed_forward_layers()) == 16
    stages = [name.split(".")[0] for name in values]
    assert stages == ["down_blocks"] * 6 + ["mid_block"] + ["up_blocks"] * 9


def test_prompts_differ_in_their_embeddings(tiny_model: DiffusersModel) -> None:
    first, second = tiny_model.encode_prompt(["a red star", "a blue ring"])["prompt_embeds"]
    assert (first - second).abs().max() > 0.01


def test_images_reach_the_latents_and_prompts_reach_the_image(tiny_model: DiffusersModel) -> None:
    latents = tiny_model.encode_image(torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)]))
    assert latents.shape == (2, *tiny_model.latent_shape) == (2, 4, 8, 8)
    assert (latents[0] - latents[1]).abs().max() > 1e-3
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    embeddings = tiny_model.encode_prompt(["a red star", "a blue ring"])
    images = tiny_model.sample(embeddings, generators, torch.arange(2))
    assert (images[0] - images[1]).abs().max() > 1e-3


def test_suite_is_complete(tiny_suite_folder: Path) -> None:
    suite = Suite.load(tiny_suite_folder)
    assert [len(suite.split(split)) for split in ("test", "dev")] == [7, 3]
    for sample in suite.samples:
        (original,) = suite.originals(sample)
        assert read_image(original).shape == (3, 32, 32)
    for folder in ("pipeline", "oracle", "clip"):
        assert Path(suite.component(folder)).is_dir()
