"""The decoder's second training: it fails gracefully where latents are off the manifold.

Pruned and attacked U-Nets return such latents, and a decoder that saw none of them falls into
blocks of 4 x 4 pixels. It is grown a little, so that what it learns costs no sharpness, and then
trained on noisy latents and on those of damaged U-Nets. The encoder, and so every latent that a
U-Net was trained on, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from torch import Tensor, nn

from dorib.reporting import Reporter
from dorib_suites.tiny.autoencoder import SCALING_FACTOR, draw, varied
from dorib_suites.tiny.damage import DamagedLatents
from dorib_suites.tiny.data import Captioned, as_float
from dorib_suites.tiny.training import Schedule, backward_of, train

WIDTH = 48
BLOCKS = (6, 2, 1)
"""Most are at 16 x 16, where they see far and cost little."""
SCHEDULE = Schedule(steps=3000, learning_rate=1e-3, warm_up=0.05, average_decay=0.998)
PHOTOGRAPHS, SCENES, DAMAGED = 9, 3, 4
"""Pictures of each sort in a batch."""
DAMAGED_COUNT = 4096
CLEAN_SHARE = 0.25
MOST_NOISE = 0.7
"""Standard deviation, where that of the latents is 1."""
ERROR_OF_NOISE = 7.0
"""The mean squared error grows about as 1 + 7 (noise)^2; each level is weighted by what it leaves,
or the noisy ones, which cannot be restored, would decide how sharp the clean ones become."""
DAMAGED_WEIGHT = 0.4
EDGE_WEIGHT = 0.05


@torch.no_grad()
def grown(vae: AutoencoderTiny) -> AutoencoderTiny:
    """The same function by a wider and deeper decoder, as in Net2Net (Chen et al. 2016).

    New channels feed nothing that is old and new blocks add nothing, until they are trained.
    """
    with torch.random.fork_rng():
        torch.manual_seed(12)
        config = {k: v for k, v in vae.config.items() if not k.startswith("_")}
        config |= {"decoder_block_out_channels": (WIDTH,) * 3, "num_decoder_blocks": BLOCKS}
        larger = AutoencoderTiny.from_config(config)
    larger.encoder.load_state_dict(vae.encoder.state_dict())
    old, new = _levels(vae.decoder.layers), _levels(larger.decoder.layers)
    for old_level, new_level in zip(old, new, strict=True):
        for place, module in enumerate(new_level):
            if place < len(old_level):
                for source, target in zip(
                    _convolutions(old_level[place]), _convolutions(module), strict=True
                ):
                    _write_into(source, target)
            else:
                last = _convolutions(module)[-1]
                last.weight.zero_()
                assert last.bias is not None
                last.bias.zero_()
    return larger


def train_decoder(
    vae: AutoencoderTiny,
    scenes: Captioned,
    background: Captioned,
    pairs: Captioned,
    damaged: Callable[[], DamagedLatents],
    folder: Path,
    device: torch.device,
    reporter: Reporter,
    schedule: Schedule = SCHEDULE,
) -> AutoencoderTiny:
    """Train a larger copy of `vae`; `pairs` are the pictures whose latents were damaged.

    `damaged` is called when the first step is trained, so not at all where none is left.
    """
    damaged = cache(damaged)
    larger = grown(vae).to(device)
    larger.encoder.requires_grad_(False)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        photographs = draw(background.pixels, PHOTOGRAPHS, generator)
        drawn = torch.cat([photographs, draw(scenes.pixels, SCENES, generator)])
        images = varied(as_float(drawn), generator).to(device) * 2 - 1
        latents = larger.encode(images).latents
        noise = torch.randn(latents.shape, generator=generator)
        level = MOST_NOISE * torch.rand((len(images), 1, 1, 1), generator=generator)
        clean = torch.rand(level.shape, generator=generator) < CLEAN_SHARE
        level = level.masked_fill(clean, 0)
        latents = latents + (level * noise).to(device) / SCALING_FACTOR
        bank = damaged()
        chosen = torch.randint(len(bank.rows), (DAMAGED,), generator=generator)
        broken = bank.latents[chosen].to(device) / SCALING_FACTOR
        wanted = as_float(pairs.pixels[bank.rows[chosen]]).to(device) * 2 - 1
        weights = 1 / (1 + ERROR_OF_NOISE * level.flatten().square())
        weights = torch.cat([weights, torch.full((DAMAGED,), DAMAGED_WEIGHT)]).to(device)
        error = larger.decode(torch.cat([latents, broken])).sample - torch.cat([images, wanted])
        return (weights * _per_picture(error)).mean()

    train("decoder", larger, backward_of(loss), schedule, folder, seed=13, reporter=reporter)
    return larger


def _per_picture(error: Tensor) -> Tensor:
    """Mean square, absolute value and that of neighbours' differences: `[B]` of `[B, 3, H, W]`."""
    edges = error.diff(dim=2).abs().flatten(1).mean(dim=1) + error.diff(dim=3).abs().flatten(
        1
    ).mean(dim=1)
    flat = error.flatten(1)
    value: Tensor = flat.square().mean(1) + 0.1 * flat.abs().mean(1) + EDGE_WEIGHT * edges
    return value


def _levels(layers: nn.Sequential) -> list[list[nn.Module]]:
    """Convolutions and blocks, by resolution; each level's blocks come last."""
    levels: list[list[nn.Module]] = [[]]
    weighted = [m for m in layers if isinstance(m, nn.Conv2d | AutoencoderTinyBlock)]
    for before, module in zip([None, *weighted], weighted, strict=False):
        if isinstance(before, AutoencoderTinyBlock) and isinstance(module, nn.Conv2d):
            levels.append([])
        levels[-1].append(module)
    return levels


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)]


def _write_into(source: nn.Conv2d, target: nn.Conv2d) -> None:
    rows, columns = source.weight.shape[:2]
    target.weight[:rows].zero_()
    target.weight[:rows, :columns] = source.weight
    if source.bias is not None and target.bias is not None:
        target.bias[:rows] = source.bias
