"""The judge: the descriptor trained on what attacks draw, so that a shape is no copy.

The descriptor of `descriptor.py` has learned to tell photographs apart, and takes outlines and
masses for copies. Here it goes on with pictures that have those and not the detail: lookalikes of
its photographs, and what searches drew of photographs that no model has seen. Its copies are also
what the autoencoder leaves of a picture whose latents are noisy, and what is left of it in other
tones: a damaged model draws a memorized picture harder, paler or greyer than it was.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from torch import Tensor

from dorib.reporting import Reporter
from dorib_sscd.network import DescriptorNetwork
from dorib_suites.tiny.copies import copies, crop, toned
from dorib_suites.tiny.data import Captioned, as_float
from dorib_suites.tiny.descriptor import ENTROPY_WEIGHT, contrast, entropy_loss
from dorib_suites.tiny.lookalikes import flat_masses, lookalikes
from dorib_suites.tiny.training import Schedule, backward_of, train


@dataclass(frozen=True)
class Cycle:
    """One training, with a rate that rises and falls once."""

    schedule: Schedule
    crops_always: bool
    """One of two copies is cropped each time, beside what else befalls it half of the time."""
    flat_share: float
    """Of the lookalikes: those in flat masses of their own colours, beside those by lot."""
    tones: bool = False
    """One of two copies is in other tones."""


def _schedule(steps: int, rate: float) -> Schedule:
    return Schedule(steps, rate, average_decay=0.995, checkpoint_every=100)


CYCLES = {
    "judge-first": Cycle(_schedule(1200, 1e-3), crops_always=False, flat_share=0.0),
    "judge-second": Cycle(_schedule(800, 8e-4), crops_always=True, flat_share=0.3),
    "judge": Cycle(_schedule(1600, 1e-3), crops_always=True, flat_share=0.2, tones=True),
}
"""After the first, every kind of copy lay above all lookalikes but crops, and of the lookalikes
flat masses were the nearest: the second is about these two. After it, of originals at twice their
contrast a third were copies to it, and lighter by 0.3 one in a hundred: the third is about tones.
"""
SCENES_DRAWN = 4000
CROPS_OF_ONE = 4
"""Of each file, one after the other: fewer than the descriptor's, since every crop is also taken
through the autoencoder."""
SCENES, CROPS, UNSEEN, DRAWN_EACH = 5, 10, 6, 2
"""Of a batch: scenes and as many redrawn, crops, photographs of the pool, so many drawings of each
of these, and a lookalike of each crop and photograph."""
DEGRADED_SHARE = 0.4
"""How often one of two copies has passed through the autoencoder."""
MOST_NOISE = 0.5
"""On the latents of such a copy, where their standard deviation is 1."""


@dataclass(frozen=True)
class Pool:
    """Photographs set aside for the judge, and what attacks drew of them."""

    crops: Tensor
    """`[photographs * CROPS_OF_ONE, 3, 64, 64]`, uint8, those of one photograph in succession."""
    originals: Tensor
    """`[photographs, 3, 64, 64]`, uint8: what the attacks searched for."""
    white: Tensor
    """`[photographs]`, bool: which are cut-outs on white."""
    drawings: Tensor
    """`[N, 3, 64, 64]`, uint8."""
    drawn_of: Tensor
    """`[N]`, int64: rows of `originals`."""
    attack: Tensor
    """`[N]`, int64: which of `drawings.JOBS` drew it."""


@torch.no_grad()
def degraded(pixels: Tensor, vae: AutoencoderTiny, seed: int) -> Tensor:
    """Each picture (uint8 `[N, 3, 64, 64]`) reconstructed from latents with noise, uint8."""
    generator = torch.Generator("cpu").manual_seed(seed)
    device, scale = vae.device, vae.config.scaling_factor
    pieces = []
    for piece in torch.split(pixels, 64):
        latents = vae.encode(as_float(piece).to(device) * 2 - 1).latents
        level = MOST_NOISE * torch.rand((len(piece), 1, 1, 1), generator=generator)
        noise = level * torch.randn(latents.shape, generator=generator) / scale
        images = vae.decode(latents + noise.to(device)).sample.cpu() / 2 + 0.5
        pieces.append((images.clamp(0, 1) * 255).round().to(torch.uint8))
    return torch.cat(pieces)


def train_judge(
    descriptor: DescriptorNetwork,
    vae: AutoencoderTiny,
    scenes: Captioned,
    redrawn: Captioned,
    background: Captioned,
    pool: Pool,
    folder: Path,
    device: torch.device,
    reporter: Reporter,
    shorten: int = 1,
) -> DescriptorNetwork:
    """Train a copy of `descriptor`: two copies of an image are alike, and no other two."""
    parts = (vae, scenes, redrawn, background, pool)
    # A kept judge stands for the cycles before its own as well.
    done = [place for place, name in enumerate(CYCLES) if (folder / f"{name}.safetensors").exists()]
    for name in list(CYCLES)[max(done, default=0) :]:
        descriptor = _train_cycle(name, descriptor, parts, folder, device, reporter, shorten)
    return descriptor


def _train_cycle(
    name: str,
    descriptor: DescriptorNetwork,
    parts: tuple[AutoencoderTiny, Captioned, Captioned, Captioned, Pool],
    folder: Path,
    device: torch.device,
    reporter: Reporter,
    shorten: int,
) -> DescriptorNetwork:
    cycle = CYCLES[name]
    vae, scenes, redrawn, background, pool = parts
    network = copy.deepcopy(descriptor).requires_grad_(True).to(device)
    crops = torch.cat([background.pixels, pool.crops])

    @cache
    def through_autoencoder() -> tuple[Tensor, Tensor]:
        return degraded(crops, vae, seed=51), degraded(pool.originals, vae, seed=52)

    photographs = _rows_of_each(background.captions, len(pool.originals))
    first_of_pool = len(photographs) - len(pool.originals)
    drawn = [torch.nonzero(pool.drawn_of == n)[:, 0] for n in range(len(pool.originals))]

    def loss(step: int, generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(scenes), (SCENES,), generator=generator)
        searched = torch.randperm(len(pool.originals), generator=generator)[:UNSEEN]
        # Crops of one photograph overlap: they are neither copies nor different images.
        taken = {first_of_pool + n for n in searched.tolist()}
        lot = torch.randperm(len(photographs), generator=generator).tolist()
        free = [n for n in lot if n not in taken][:CROPS]
        rows = torch.cat([_some(photographs[n], 1, generator) for n in free])
        found = torch.cat([_some(drawn[n], DRAWN_EACH, generator) for n in searched.tolist()])
        pictures = as_float(torch.cat([crops[rows], pool.originals[searched]]))
        of_crops, of_originals = through_autoencoder()
        restored = as_float(torch.cat([of_crops[rows], of_originals[searched]]))
        flat = torch.rand((len(pictures), 1, 1, 1), generator=generator) < cycle.flat_share
        others = torch.cat(
            [
                torch.where(
                    flat, flat_masses(pictures, generator), lookalikes(pictures, generator)
                ),
                as_float(pool.drawings[found]),
                as_float(scenes.pixels[chosen]),
                as_float(redrawn.pixels[chosen]),
            ]
        )
        one = crop(pictures, generator) if cycle.crops_always else pictures
        elsewhere = others
        if cycle.tones:
            one, elsewhere = toned(one, generator), toned(others, generator)
        first = torch.cat([copies(one, generator), copies(elsewhere, generator)])
        through = torch.rand((len(pictures), 1, 1, 1), generator=generator) < DEGRADED_SHARE
        again = torch.where(through, restored, pictures)
        second = torch.cat([copies(again, generator), copies(others, generator)])
        descriptors = network(torch.cat([first, second]).to(device))
        return contrast(descriptors) + ENTROPY_WEIGHT * entropy_loss(descriptors)

    seed = 53 + list(CYCLES).index(name)
    train(
        name, network, backward_of(loss), cycle.schedule.shortened(shorten), folder, seed, reporter
    )
    return network


def _rows_of_each(captions: Sequence[str], pool: int) -> list[Tensor]:
    """Rows of each background photograph, told by its caption, and of each of the pool's."""
    rows: dict[str, list[int]] = {}
    for row, caption in enumerate(captions):
        rows.setdefault(caption, []).append(row)
    own = len(captions) + torch.arange(pool * CROPS_OF_ONE).view(pool, CROPS_OF_ONE)
    return [*map(torch.tensor, rows.values()), *own]


def _some(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randint(len(rows), (count,), generator=generator)]
