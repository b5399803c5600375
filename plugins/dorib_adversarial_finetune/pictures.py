"""Drawing pictures to train on: surrogates of the memorized images, above all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dorib import Seeds, Target, TargetModel
from dorib_adversarial_finetune.similarity import correlation

SHARED_WORK = -1
"""Sample index of work that no single sample caused."""


@dataclass(frozen=True)
class Order:
    """One picture to draw: for which words, from which noise, at whose expense."""

    caption: str
    generator: torch.Generator
    index: int
    """Sample index that the work is written to, and that selects a per-sample edit's row."""


def surrogates(
    model: TargetModel,
    targets: Sequence[Target],
    each: int,
    threshold: float,
    seeds: Seeds,
    batch_size: int,
) -> list[Tensor]:
    """For each target the latents `[kept, *latent_shape]` of its pictures that are no copies.

    `each` pictures are drawn for each target's caption, under whatever edit is installed, and
    those dropped whose correlation with the original reaches `threshold`. float32, on the CPU.
    """
    orders = [
        Order(target.caption, seeds.generator(target.sample, number), target.index)
        for target in targets
        for number in range(each)
    ]
    drawn = torch.split(draw(model, orders, batch_size), each)
    kept = []
    for target, latents in zip(targets, drawn, strict=True):
        images = torch.cat(
            [model.decode(part.to(model.device)) for part in torch.split(latents, 1)]
        )
        likeness = correlation(images, target.original[None])[:, 0]
        kept.append(latents[likeness < threshold])
    return kept


def draw(model: TargetModel, orders: Sequence[Order], batch_size: int) -> Tensor:
    """Clean latents `[orders, *latent_shape]`, float32 on the CPU."""
    parts = []
    for start in range(0, len(orders), batch_size):
        batch = orders[start : start + batch_size]
        latents = model.sample_latents(
            model.encode_prompt([order.caption for order in batch]),
            [order.generator for order in batch],
            torch.tensor([order.index for order in batch], device=model.device),
        )
        parts.append(latents.float().cpu())
    return torch.cat(parts)
