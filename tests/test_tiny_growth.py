"""Growth of the embedded suite's networks changes no function; what damages them, and archives."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel

from dorib_suites.tiny import decoder, growth
from dorib_suites.tiny import unet as unets
from dorib_suites.tiny.autoencoder import LATENT_CHANNELS, SCALING_FACTOR, WIDTH
from dorib_suites.tiny.clip import TEXT_WIDTH
from dorib_suites.tiny.damage import damaged, damaged_latents
from dorib_suites.tiny.qt_resources import files_in


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return unets.build().eval()


def small_autoencoder() -> AutoencoderTiny:
    torch.manual_seed(0)
    return AutoencoderTiny(
        encoder_block_out_channels=(48,) * 3,
        decoder_block_out_channels=(WIDTH,) * 3,
        num_encoder_blocks=(0, 0, 0),
        num_decoder_blocks=(3, 1, 1),
        latent_channels=LATENT_CHANNELS,
        scaling_factor=SCALING_FACTOR,
    )


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_a_grown_decoder_decodes_as_before_and_has_the_same_encoder(tmp_path: Path) -> None:
    vae = small_autoencoder()
    decoder.grown(vae).save_pretrained(tmp_path)
    larger = AutoencoderTiny.from_pretrained(tmp_path)
    assert larger.config.decoder_block_out_channels == [decoder.WIDTH] * 3
    latents, images = noise(2, LATENT_CHANNELS, 16, 16) / SCALING_FACTOR, noise(2, 3, 64, 64)
    assert torch.allclose(larger.decode(latents).sample, vae.decode(latents).sample, atol=1e-5)
    assert torch.equal(larger.encode(images).latents, vae.encode(images).latents)


@torch.no_grad()
def test_a_grown_unet_predicts_as_before_and_has_seven_value_layers(
    unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    growth.grown(unet).save_pretrained(tmp_path)
    larger = UNet2DConditionModel.from_pretrained(tmp_path)
    arguments = (
        noise(2, LATENT_CHANNELS, 16, 16),
        torch.tensor([3, 700]),
        noise(2, 24, TEXT_WIDTH),
    )
    assert torch.allclose(larger(*arguments).sample, unet(*arguments).sample, atol=1e-5)
    values = [name for name, _ in larger.named_modules() if name.endswith("attn2.to_v")]
    assert sum(not name.startswith("up_blocks") for name in values) == 7


def test_every_new_layer_learns(unet: UNet2DConditionModel) -> None:
    larger = growth.grown(unet).train()
    arguments = (noise(1, LATENT_CHANNELS, 16, 16), torch.tensor([500]), noise(1, 24, TEXT_WIDTH))
    larger(*arguments).sample.square().sum().backward()
    last = [
        (n, p) for n, p in larger.named_parameters() if "conv2.weight" in n or "proj_out.w" in n
    ]
    for name, parameter in last:
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_damage_zeroes_the_largest_weights_and_leaves_the_original(
    unet: UNet2DConditionModel,
) -> None:
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    broken = damaged(unet, 0.1, torch.Generator().manual_seed(0))
    changed = [n for n, v in broken.state_dict().items() if not torch.equal(v, before[n])]
    assert changed and all(".ff.net." in name for name in changed)
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
    for name in changed:
        lost = broken.state_dict()[name] == 0
        kept = before[name][~lost].abs().max()
        assert lost.float().mean() <= 0.1 and before[name][lost].abs().min() >= kept


def test_damaged_latents_are_repeatable_and_name_their_pair(unet: UNet2DConditionModel) -> None:
    pairs = unets.Encoded(
        noise(6, LATENT_CHANNELS, 16, 16),
        noise(2, 24, TEXT_WIDTH),
        torch.arange(6) % 2,
        torch.ones(6),
    )
    once, again = (damaged_latents(unet, pairs, 5, seed=3, group=2) for _ in range(2))
    assert once.latents.shape == (5, LATENT_CHANNELS, 16, 16)
    assert torch.equal(once.latents, again.latents) and torch.equal(once.rows, again.rows)
    apart = (once.latents - pairs.latents[once.rows]).flatten(1).norm(dim=1)
    elsewhere = (once.latents - pairs.latents[(once.rows + 1) % 6]).flatten(1).norm(dim=1)
    assert (apart < elsewhere).all()


def qt_archive(name: str, content: bytes, *, compressed: bool) -> bytes:
    """A root folder with one file; version 1 of the format."""
    stored = struct.pack(">I", len(content)) + zlib.compress(content) if compressed else content
    data = struct.pack(">I", len(stored)) + stored
    names = b"".join(
        struct.pack(">HI", len(text), 0) + text.encode("utf-16-be") for text in ("", name)
    )
    root = struct.pack(">IHII", 0, 2, 1, 1)
    leaf = struct.pack(">IHHHI", 6, 1 if compressed else 0, 0, 0, 0)
    start = 20
    header = b"qres" + struct.pack(
        ">IIII", 1, start + len(data) + len(names), start, start + len(data)
    )
    return header + data + names + root + leaf


@pytest.mark.parametrize("compressed", [True, False])
def test_files_of_a_qt_archive(tmp_path: Path, compressed: bool) -> None:
    archive = tmp_path / "pictures.rcc"
    archive.write_bytes(qt_archive("fish.webp", b"a fish" * 9, compressed=compressed))
    assert dict(files_in(archive)) == {"fish.webp": b"a fish" * 9}


def test_what_is_no_qt_archive_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "pictures.rcc"
    archive.write_bytes(b"PK\x03\x04" + bytes(40))
    with pytest.raises(ValueError, match="not a Qt resource file"):
        list(files_in(archive))
