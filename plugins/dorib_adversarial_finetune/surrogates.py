"""Surrogates: what memorized prompts are trained to give in place of the originals."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dorib import Seeds, Target, TargetModel, own_pictures


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
    drawn = own_pictures(model, targets, each, seeds, batch_size)
    return [own.latents[own.likeness < threshold] for own in drawn]
