"""Drawing pictures to train on, and how like the originals they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dorib.contracts.seeds import Seeds
from dorib.contracts.target_model import TargetModel
from dorib.contracts.views import Target
from dorib.kit.finetuning.similarity import correlation

SHARED_WORK = -1
"""Sample index of work that no single sample caused."""


@dataclass(frozen=True)
class Order:
    """One picture to draw: for which words, from which noise, at whose expense."""

    caption: str
    generator: torch.Generator
    index: int
    """Sample index that the work is written to, and that selects a per-sample edit's row."""


@dataclass(frozen=True)
class OwnPictures:
    """What the model draws for a target's caption."""

    latents: Tensor
    """Clean, `[pictures, *latent_shape]`, float32, on the CPU."""
    likeness: Tensor
    """Correlation of each with the original, `[pictures]` in [-1, 1], on the CPU."""


def own_pictures(
    model: TargetModel, targets: Sequence[Target], each: int, seeds: Seeds, batch_size: int
) -> list[OwnPictures]:
    """For each target `each` pictures of its caption, drawn under whatever edit is installed."""
    orders = [
        Order(target.caption, seeds.generator(target.sample, number), target.index)
        for target in targets
        for number in range(each)
    ]
    drawn = torch.split(draw_pictures(model, orders, batch_size), each)
    own = []
    for target, latents in zip(targets, drawn, strict=True):
        images = torch.cat(
            [model.decode(part.to(model.device)) for part in torch.split(latents, 1)]
        )
        own.append(OwnPictures(latents, correlation(images, target.original[None])[:, 0]))
    return own


def draw_pictures(model: TargetModel, orders: Sequence[Order], batch_size: int) -> Tensor:
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
