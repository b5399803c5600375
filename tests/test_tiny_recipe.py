"""The recipe of the embedded suite: resumable training, repeatable data, honest copies."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTokenizer

from dorib.errors import DoribError
from dorib.host.registry import discover
from dorib.reporting import Silent
from dorib.suites.suite import load_suite
from dorib_suites.tiny.autoencoder import PATCH_VALUES, SCALING_FACTOR, build
from dorib_suites.tiny.clip import build as build_clip
from dorib_suites.tiny.clip import tokenize
from dorib_suites.tiny.components import train_components
from dorib_suites.tiny.copies import ALL_CHANGES, likenesses
from dorib_suites.tiny.data import (
    as_float,
    background_crops,
    captioned_scenes,
    fixed_crops,
    redrawn_scenes,
    scenes_of_another_kind,
)
from dorib_suites.tiny.descriptor import calibrated_threshold
from dorib_suites.tiny.forks import FORKS, train_forks
from dorib_suites.tiny.refine import train_scene_models
from dorib_suites.tiny.replicas import Replicas
from dorib_suites.tiny.reuse import unpack_components
from dorib_suites.tiny.samples import OFTEN, memorized_pairs, suite_samples
from dorib_suites.tiny.scenes import COLOURS, KINDS, draw_scene, render
from dorib_suites.tiny.tokenizer import train_tokenizer
from dorib_suites.tiny.training import Schedule, backward_of, outcomes, train

SCHEDULE = Schedule(steps=12, learning_rate=0.01, checkpoint_every=4)


class StoppedError(Exception):
    pass


class NothingIsTrained(Silent):
    def verb(self, name: str, subject: str, total: int) -> NoReturn:
        pytest.fail(f"{name} {subject}")


def regression(
    folder: Path, stop_at: int | None = None, schedule: Schedule = SCHEDULE
) -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))

    def loss(step: int, generator: torch.Generator) -> Tensor:
        if step == stop_at:
            raise StoppedError
        inputs = torch.randn(16, 3, generator=generator)
        return (module(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()

    train("regression", module, backward_of(loss), schedule, folder, seed=1, reporter=Silent())
    return module


@pytest.mark.parametrize("stop_at", [1, 5, 11])
def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path, stop_at: int) -> None:
    whole = regression(tmp_path / "whole")
    with pytest.raises(StoppedError):
        regression(tmp_path / "parts", stop_at)
    resumed = regression(tmp_path / "parts")
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_finished_training_tells_its_loss(tmp_path: Path) -> None:
    module = regression(tmp_path)
    outcome = outcomes(tmp_path)["regression"]
    assert outcome["steps"] == str(SCHEDULE.steps)
    inputs = torch.randn(256, 3, generator=torch.Generator().manual_seed(9))
    error = (module(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()
    assert 0.2 < float(outcome["loss"]) / error.item() < 5


def test_a_finished_training_is_read_and_not_repeated(tmp_path: Path) -> None:
    first = regression(tmp_path)
    second = regression(tmp_path, stop_at=0)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_training_of_another_length_is_not_taken_for_this_one(tmp_path: Path) -> None:
    regression(tmp_path, schedule=SCHEDULE.shortened(3))
    with pytest.raises(DoribError, match=r"regression.safetensors is a training of 4 steps, .* 12"):
        regression(tmp_path)


@given(divisor=st.integers(1, 10_000))
def test_a_shortened_training_has_at_least_one_step(divisor: int) -> None:
    steps = SCHEDULE.shortened(divisor).steps
    assert steps == max(1, SCHEDULE.steps // divisor)


def test_a_tokenizer_is_trained_once(tmp_path: Path) -> None:
    """Which of two equally frequent words comes first is chance, and CLIP has learned it so."""
    captions = [f"a {word} on a shelf" for word in ("camel", "otter", "heron", "bison", "gecko")]
    first = train_tokenizer(captions, tmp_path)
    words = first.tokenize("a camel on a shelf?")
    assert words[:5] == ["a</w>", "camel</w>", "on</w>", "a</w>", "shelf</w>"]
    for again in (captions, captions[::-1], ["something else"]):
        assert train_tokenizer(again, tmp_path).get_vocab() == first.get_vocab()
    ids = tokenize(first, ("a camel", "a heron"))
    assert torch.equal(ids, tokenize(train_tokenizer(captions, tmp_path), ("a camel", "a heron")))
    assert ids[0, 0] == ids[1, 0] == first.bos_token_id
    assert (ids == first.eos_token_id).any(dim=1).all()


def test_scenes_are_repeatable_and_say_what_they_show() -> None:
    once, again = captioned_scenes(20, seed=3), captioned_scenes(20, seed=3)
    assert torch.equal(once.pixels, again.pixels)
    assert once.captions == again.captions
    assert torch.equal(captioned_scenes(5, seed=3).pixels, once.pixels[:5])
    for caption in once.captions:
        assert any(kind in caption for kind in KINDS)
        assert any(colour in caption for colour in COLOURS)


def test_a_scene_drawn_again_is_another_image_of_the_same_caption() -> None:
    once, again = captioned_scenes(20, seed=3), redrawn_scenes(20, seed=3)
    assert again.captions == once.captions
    apart = (as_float(once.pixels) - as_float(again.pixels)).abs().flatten(1).mean(dim=1)
    assert (apart > 0.005).all()


def test_a_twin_differs_by_the_kind_of_one_shape() -> None:
    scenes, twins = captioned_scenes(40, seed=3), scenes_of_another_kind(40, seed=3)
    for caption, changed in zip(scenes.captions, twins.captions, strict=True):
        words = [
            pair for pair in zip(caption.split(), changed.split(), strict=True) if len({*pair}) > 1
        ]
        assert len(words) == 1
        assert {*words[0]} <= {*KINDS}


def test_untrained_clip_tells_every_kind_of_shape_apart() -> None:
    """Or contrast alone decides which words the U-Net can know."""
    captions = tuple(f"a small red {kind} on a plain blue background" for kind in KINDS)
    tokenizer = CLIPTokenizer.from_pretrained(
        load_suite("tiny", discover()).root / "pipeline" / "tokenizer"
    )
    with torch.no_grad():
        hidden = build_clip(tokenizer).text_model(tokenize(tokenizer, captions))[0]
    at_the_word = hidden[:, 4]
    apart = torch.cdist(at_the_word, at_the_word)[torch.triu_indices(6, 6, offset=1).unbind()]
    assert apart.min() > at_the_word.norm(dim=1).mean() / 4


def test_the_colours_of_a_caption_are_in_the_picture() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scene = draw_scene(rng)
        pixels = render(scene, rng).reshape(-1, 3).astype(float)
        # At least two colours far apart: a shape that melts into its ground is a bug.
        assert np.ptp(pixels, axis=0).max() > 60


def test_no_photograph_is_both_memorized_and_a_control() -> None:
    samples = suite_samples()
    roles = {sample.id: sample.role for sample in samples}
    assert len(roles) == len(samples)


def test_dev_and_test_hold_what_is_drawn_most_often() -> None:
    samples = suite_samples()
    memorized = [s for s in samples if s.role == "memorized" and s.split in ("dev", "test")]
    assert len(memorized) == OFTEN
    others = [s.duplication for s in samples if s.split in ("duplication", "template")]
    assert min(s.duplication for s in memorized) > max(others)
    assert all(s.duplication == 0 for s in samples if s.role == "control")


def test_a_sample_is_drawn_as_often_as_its_duplication_says() -> None:
    samples = suite_samples()
    pairs, weights = memorized_pairs(samples)
    drawn: dict[str, float] = {}
    for caption, weight in zip(pairs.captions, weights.tolist(), strict=True):
        drawn[caption] = drawn.get(caption, 0) + weight
    wanted = {s.caption: s.duplication for s in samples if s.role == "memorized"}
    assert drawn == pytest.approx(wanted)


def test_a_template_keeps_its_layout_and_varies_its_content() -> None:
    for sample in suite_samples():
        if sample.kind == "template":
            originals = as_float(torch.from_numpy(sample.originals))
            changed = (originals[1:] - originals[0]).abs().amax(dim=(0, 1)) > 0.02
            assert 0 < changed.float().mean() < 0.1


def test_replicas_give_the_gradient_of_the_whole_batch() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(7, 3, generator=generator)
    wanted = torch.randn(7, 1, generator=generator)
    nn.functional.mse_loss(network(inputs), wanted).backward()
    plain = [parameter.grad for parameter in network.parameters()]
    network.zero_grad()

    def loss(replica: nn.Module, piece: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return nn.functional.mse_loss(replica(piece[0]), piece[1])

    Replicas(network).backward((inputs, wanted), loss)
    for parameter, gradient in zip(network.parameters(), plain, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


def test_the_encoder_is_linear_and_centred_on_its_data() -> None:
    scenes, background = captioned_scenes(64, seed=3), background_crops(1, seed=3)
    vae = build(scenes, background)
    images = as_float(fixed_crops("control").pixels[:4]) * 2 - 1
    with torch.no_grad():
        apart = vae.encode(images[:2]).latents + vae.encode(images[2:]).latents
        together = 2 * vae.encode((images[:2] + images[2:]) / 2).latents
        latents = vae.encode(as_float(background.pixels) * 2 - 1).latents
    assert torch.allclose(apart, together, atol=1e-5)
    assert latents.std().item() * SCALING_FACTOR == pytest.approx(1, abs=0.4)
    assert vae.config.latent_channels < PATCH_VALUES


@pytest.mark.parametrize("name", ALL_CHANGES)
def test_a_copy_stays_an_image_near_its_original(name: str) -> None:
    images = as_float(fixed_crops("control").pixels[:4])
    changed = ALL_CHANGES[name](images, torch.Generator("cpu").manual_seed(0))
    assert changed.shape == images.shape
    assert changed.min() >= -1e-6 and changed.max() <= 1 + 1e-6
    assert not torch.equal(changed, images)
    assert (changed - images).abs().mean() < 0.25


def test_a_likeness_has_the_colours_and_not_the_detail() -> None:
    images = as_float(fixed_crops("control").pixels[:8])
    likeness = likenesses(images, torch.Generator("cpu").manual_seed(0))
    assert likeness.shape == images.shape
    assert likeness.min() >= -1e-6 and likeness.max() <= 1 + 1e-6
    apart, coarsely_apart = (
        (functional.avg_pool2d(images, side) - functional.avg_pool2d(likeness, side)).abs().mean()
        for side in (1, 16)
    )
    assert coarsely_apart < 0.06 < apart


def test_shipped_components_count_as_finished_trainings(tmp_path: Path) -> None:
    suite = load_suite("tiny", discover())
    unpack_components(suite.root, tmp_path)
    device = torch.device("cpu")
    parts = train_components(tmp_path, device, NothingIsTrained(), shorten=100)
    _, grown = train_scene_models(parts, tmp_path, device, NothingIsTrained(), shorten=100)
    forks = FORKS[:2]
    models = train_forks(parts, grown, tmp_path, NothingIsTrained(), forks, shorten=100)
    images = as_float(fixed_crops("control").pixels[:4])
    tokenizer = CLIPTokenizer.from_pretrained(suite.root / "pipeline" / "tokenizer")
    assert parts.tokenizer.get_vocab() == tokenizer.get_vocab()
    with torch.no_grad():
        restored = parts.vae.decode(parts.vae.encode(images * 2 - 1).latents).sample / 2 + 0.5
    for fork, folder in zip(forks, ("pipeline/unet", "oracle"), strict=True):
        shipped = UNet2DConditionModel.from_pretrained(suite.root / folder).state_dict()
        for name, value in models[fork].state_dict().items():
            assert torch.equal(value, shipped[name].float())
    assert (restored - images).square().mean() < 0.003


def test_the_threshold_lets_through_no_more_than_the_rate() -> None:
    similarities = torch.rand(5000, generator=torch.Generator("cpu").manual_seed(0))
    threshold = calibrated_threshold(similarities, rate=0.01)
    assert (similarities >= threshold).float().mean() <= 0.01
    assert (similarities >= threshold - 0.01).float().mean() > 0.01
