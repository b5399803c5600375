"""What each loss is worked out on: a memorized image, pictures to keep and to forget, noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dorib import Embeddings, NoisePairs, Seeds, Target, TargetModel, noise_pairs, stacked


@dataclass(frozen=True)
class Pool:
    """A memorized image with what is kept and forgotten under its caption; float32, on the CPU."""

    target: Target
    prompt: Embeddings
    """The caption's, without a batch axis."""
    kept: Tensor
    """Clean latents `[pictures, *latent_shape]`; no rows for a loss that keeps nothing."""
    forgotten: Tensor
    """Clean latents `[pictures, *latent_shape]`: the original first."""


@dataclass(frozen=True)
class Draws:
    """A batch, an item a draw; float32, on the model's device."""

    kept: Tensor
    """Clean, `[B, *latent_shape]`; no rows for a loss that keeps nothing."""
    forgotten: Tensor
    """Clean, `[B, *latent_shape]`."""
    neighbours: Sequence[Tensor]
    """For each item kept latents, `[at most count, *latent_shape]`, nearest to what it forgets."""
    pairs: NoisePairs
    """Kept and forgotten pictures of an item share them."""
    from_forgotten: Tensor
    """bool `[B]`: whether a mixture takes the item's forgotten picture."""
    normal: Tensor
    """Other noise of unit variance, `[B, *latent_shape]`."""
    uniform: Tensor
    """The same numbers, evenly between 0 and 1."""
    embeddings: Embeddings
    samples: Tensor
    """int64 `[B]`."""


@dataclass(frozen=True)
class Drawing:
    """How draws are made."""

    balance: float
    """Share of items whose mixture takes the forgotten picture."""
    neighbours: int
    last_timestep: bool
    """Train at the noisiest timestep alone."""


def draws(
    model: TargetModel, pools: Sequence[Pool], numbers: Sequence[int], how: Drawing, seeds: Seeds
) -> Draws:
    """One draw of each of `pools`; `numbers` tell the draws of a pool apart."""
    generators = [
        seeds.generator(pool.target.sample, number)
        for pool, number in zip(pools, numbers, strict=True)
    ]
    pairs = noise_pairs(model, generators)
    if how.last_timestep:
        pairs = replace(pairs, timesteps=torch.full_like(pairs.timesteps, model.timesteps - 1))
    coins = [float(torch.rand((), generator=g)) for g in generators]
    other = torch.stack([torch.randn(model.latent_shape, generator=g) for g in generators])
    forgotten = [_one_of(pool.forgotten, g) for pool, g in zip(pools, generators, strict=True)]
    kept = [
        _one_of(pool.kept, g) for pool, g in zip(pools, generators, strict=True) if len(pool.kept)
    ]
    neighbours = [
        _nearest(latents, pool.kept, how.neighbours)
        for latents, pool in zip(forgotten, pools, strict=True)
    ]
    device = model.device
    return Draws(
        torch.stack(kept).to(device) if kept else torch.zeros(0, *model.latent_shape),
        torch.stack(forgotten).to(device),
        [near.to(device) for near in neighbours],
        pairs,
        torch.tensor([coin < how.balance for coin in coins], device=device),
        other.to(device),
        torch.special.ndtr(other).to(device),
        {n: value.to(device) for n, value in stacked([pool.prompt for pool in pools]).items()},
        torch.tensor([pool.target.index for pool in pools], device=device),
    )


def _one_of(latents: Tensor, generator: torch.Generator) -> Tensor:
    return latents[int(torch.randint(len(latents), (), generator=generator))]


def _nearest(latents: Tensor, kept: Tensor, count: int) -> Tensor:
    distances = (kept - latents).flatten(1).norm(dim=1)
    return kept[distances.argsort(stable=True)[:count]]
