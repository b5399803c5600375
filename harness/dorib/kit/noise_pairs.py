"""(timestep, noise) pairs, and the denoising loss on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dorib.contracts.embeddings import Embeddings
from dorib.contracts.target_model import TargetModel


@dataclass(frozen=True)
class NoisePairs:
    """One (timestep, noise) pair for each item of a batch, on the model's device."""

    timesteps: Tensor
    """int64 `[B]`, each below the number of training timesteps."""
    noise: Tensor
    """`[B, *latent_shape]`, float32, unit variance."""


def noise_pairs(model: TargetModel, generators: Sequence[torch.Generator]) -> NoisePairs:
    """Draw a pair for each item from its own generator, on the CPU.

    A generator may stand for several items: it then gives their timesteps before their noise.
    """
    timesteps = [torch.randint(model.timesteps, (), generator=g) for g in generators]
    noise = [torch.randn(model.latent_shape, generator=g) for g in generators]
    return NoisePairs(torch.stack(timesteps).to(model.device), torch.stack(noise).to(model.device))


def pair_losses(
    model: TargetModel,
    latents: Tensor,
    pairs: NoisePairs,
    embeddings: Embeddings,
    samples: Tensor,
    towards: Tensor | None = None,
) -> Tensor:
    """The denoising loss of each item on its pair, float32 `[B]`.

    Args:
        model: computes in its own number format, whatever that of the tensors.
        latents: clean, `[B, *latent_shape]`, float32.
        pairs: one for each item.
        embeddings: what the items are conditioned on, by name `[B, ...]`.
        samples: sample indices, int64 `[B]`.
        towards: `[B, *latent_shape]`, what the output is compared with; None: what the model is
            trained to output.
    """
    conditioning = {name: value.to(model.dtype) for name, value in embeddings.items()}
    return model.denoising_loss(
        latents, pairs.noise, pairs.timesteps, conditioning, samples, towards
    )
