"""What one gradient step trains on: found embeddings towards surrogates, and general pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dorib import (
    Embeddings,
    NoisePairs,
    Seeds,
    Target,
    TargetModel,
    noise_pairs,
    pair_losses,
    stacked,
)
from dorib_adversarial_finetune.pictures import SHARED_WORK


@dataclass(frozen=True)
class Pictures:
    """All that can be trained towards; latents are clean, float32, on the CPU."""

    surrogates: Sequence[Tensor]
    """By target index `[kept, *latent_shape]`; no rows where there is no surrogate."""
    originals: Tensor
    """By target index `[memorized, *latent_shape]`."""
    general: Tensor
    """`[pictures, *latent_shape]`; no rows without utility loss."""
    general_embeddings: Sequence[Embeddings]
    """Those of each picture, float32 on the CPU."""


@dataclass(frozen=True)
class Lesson:
    """A batch: memorized images under the embeddings found for them, then general pairs."""

    latents: Tensor
    """Clean, `[B, *latent_shape]`, float32."""
    pairs: NoisePairs
    embeddings: Embeddings
    """float32."""
    samples: Tensor
    """int64 `[B]`."""
    blank: Tensor
    """bool `[B]`: trained towards the prediction without a prompt, for want of a surrogate."""
    memorized: int
    """How many of the items are memorized images; they come first."""


def lesson(
    model: TargetModel,
    pictures: Pictures,
    targets: Sequence[Target],
    embeddings: Sequence[Embeddings],
    seeds: Seeds,
) -> Lesson:
    """Draw a surrogate, a timestep and noise for each of `targets`, and as many general pairs.

    `embeddings` are those found for each of `targets`.
    """
    latents, asked = [], list(embeddings)
    generators = [seeds.generator("memorized", target.sample) for target in targets]
    for target, generator in zip(targets, generators, strict=True):
        choice = pictures.surrogates[target.index]
        if len(choice):
            latents.append(choice[int(torch.randint(len(choice), (), generator=generator))])
        else:
            latents.append(pictures.originals[target.index])
    indices = [target.index for target in targets]
    blank = [not len(pictures.surrogates[index]) for index in indices]
    if len(pictures.general):
        lot = seeds.generator("general")
        drawn = torch.randint(len(pictures.general), (len(targets),), generator=lot)
        latents += list(pictures.general[drawn])
        asked += [pictures.general_embeddings[picture] for picture in drawn.tolist()]
        generators += [lot] * len(drawn)
        indices += [SHARED_WORK] * len(drawn)
        blank += [False] * len(drawn)
    return Lesson(
        torch.stack(latents).to(model.device),
        noise_pairs(model, generators),
        {name: value.to(model.device) for name, value in stacked(asked).items()},
        torch.tensor(indices, device=model.device),
        torch.tensor(blank, device=model.device),
        len(targets),
    )


def losses(model: TargetModel, batch: Lesson) -> Tensor:
    """Mean squared error of the raw output against what it is trained towards, float32 `[B]`."""
    latents, pairs = batch.latents, batch.pairs
    towards = model.training_target(latents, pairs.noise, pairs.timesteps).float()
    if batch.blank.any():
        towards = towards.clone()
        towards[batch.blank] = _without_prompt(model, batch)
    return pair_losses(model, latents, pairs, batch.embeddings, batch.samples, towards)


@torch.no_grad()
def _without_prompt(model: TargetModel, batch: Lesson) -> Tensor:
    rows, pairs = batch.blank, batch.pairs
    timesteps = pairs.timesteps[rows]
    noisy = model.add_noise(batch.latents[rows], pairs.noise[rows], timesteps).to(model.dtype)
    nothing = model.encode_prompt([""] * len(noisy))
    return model.predict(noisy, timesteps, nothing, batch.samples[rows]).float()
