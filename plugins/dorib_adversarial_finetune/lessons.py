"""What one gradient step trains on: found embeddings towards surrogates, and general pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dorib import (
    SHARED_WORK,
    Embeddings,
    NoisePairs,
    Seeds,
    Target,
    TargetModel,
    noise_pairs,
    pair_losses,
    stacked,
)


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
class Found:
    """An embedding that a search found for a memorized image, and that of its prompt."""

    target: Target
    number: int
    """Of the image's embeddings, from 0."""
    prompt: Embeddings
    """float32 on the CPU, without a batch axis, as `embedding` is."""
    embedding: Embeddings


@dataclass(frozen=True)
class Shares:
    """Of the lessons, how many ask with either end; the others ask with what lies between."""

    prompt: float
    found: float


@dataclass(frozen=True)
class Lesson:
    """A batch: memorized images under embeddings found for them, then general pairs."""

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
    model: TargetModel, pictures: Pictures, found: Sequence[Found], shares: Shares, seeds: Seeds
) -> Lesson:
    """Draw for each of `found` what it asks with, a surrogate, a timestep and noise.

    As many general pairs stand beside them.
    """
    latents, asked, generators = [], [], []
    for one in found:
        target = one.target
        generator = seeds.generator("memorized", target.sample, one.number)
        choice = pictures.surrogates[target.index]
        if len(choice):
            latents.append(choice[int(torch.randint(len(choice), (), generator=generator))])
        else:
            latents.append(pictures.originals[target.index])
        generators.append(generator)
        asked.append(asked_with(one, shares, seeds))
    indices = [one.target.index for one in found]
    blank = [not len(pictures.surrogates[index]) for index in indices]
    if len(pictures.general):
        lot = seeds.generator("general")
        drawn = torch.randint(len(pictures.general), (len(found),), generator=lot)
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
        len(found),
    )


def asked_with(found: Found, shares: Shares, seeds: Seeds) -> Embeddings:
    """The embedding that one lesson asks with: either end, or one between, drawn by `shares`."""
    generator = seeds.generator("place", found.target.sample, found.number)
    lot, place = torch.rand(2, generator=generator).tolist()
    if lot < shares.prompt:
        return found.prompt
    if lot < shares.prompt + shares.found:
        return found.embedding
    return {
        name: torch.lerp(value, found.embedding[name], place)
        for name, value in found.prompt.items()
    }


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
