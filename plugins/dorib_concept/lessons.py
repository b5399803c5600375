"""What is trained on: pictures that the untouched model draws, noised afresh at each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dorib import (
    Embeddings,
    NoisePairs,
    Order,
    Seeds,
    Target,
    TargetModel,
    draw_pictures,
    noise_pairs,
    stacked,
    unstacked,
)


@dataclass(frozen=True)
class Erased:
    """A memorized caption with what stands in for it; float32, on the CPU."""

    target: Target
    prompt: Embeddings
    """The caption's, without a batch axis, as `anchor`."""
    anchor: Embeddings
    pictures: Tensor
    """Clean latents `[pictures, *latent_shape]`."""


@dataclass(frozen=True)
class Lessons:
    """A batch of noised pictures, on the model's device."""

    numbers: range
    """Of the whole fit's lessons, from 0."""
    latents: Tensor
    """Clean, `[B, *latent_shape]`, float32."""
    pairs: NoisePairs
    prompts: Embeddings
    """float32 `[B, ...]`, as `anchors`."""
    anchors: Embeddings
    samples: Tensor
    """int64 `[B]`."""

    def noised(self, model: TargetModel) -> Tensor:
        """What the U-Net is shown, in its own number format."""
        return model.add_noise(self.latents, self.pairs.noise, self.pairs.timesteps).to(model.dtype)

    def output(self, model: TargetModel, embeddings: Embeddings) -> Tensor:
        """The raw output of the noised pictures, float32."""
        asked = {name: value.to(model.dtype) for name, value in embeddings.items()}
        shown, at = self.noised(model), self.pairs.timesteps
        return model.predict(shown, at, asked, self.samples).float()


def draw(
    model: TargetModel,
    targets: Sequence[Target],
    captions: Sequence[str],
    each: int,
    seeds: Seeds,
    together: int,
) -> Tensor:
    """Latents `[targets, each, *latent_shape]` of pictures of each target's one of `captions`."""
    orders = [
        Order(caption, seeds.generator(target.sample, number), target.index)
        for target, caption in zip(targets, captions, strict=True)
        for number in range(each)
    ]
    return torch.stack(torch.split(draw_pictures(model, orders, together), each))


def erased(
    model: TargetModel, targets: Sequence[Target], anchors: Sequence[str], pictures: Tensor
) -> list[Erased]:
    """What each target is trained on."""
    return [
        Erased(target, _embedding(model, target.caption), _embedding(model, anchor), own)
        for target, anchor, own in zip(targets, anchors, pictures, strict=True)
    ]


def lessons(
    model: TargetModel, captions: Sequence[Erased], numbers: range, seeds: Seeds
) -> Lessons:
    """The lessons of these numbers: all captions in turn, in an order drawn for each round.

    Each is drawn from a generator of its number, so that none depends on its batch.
    """
    chosen = [captions[_place(number, len(captions), seeds)] for number in numbers]
    generators = [
        seeds.generator("lesson", one.target.sample, number)
        for one, number in zip(chosen, numbers, strict=True)
    ]
    latents = [
        one.pictures[int(torch.randint(len(one.pictures), (), generator=generator))]
        for one, generator in zip(chosen, generators, strict=True)
    ]
    return Lessons(
        numbers,
        torch.stack(latents).to(model.device),
        noise_pairs(model, generators),
        _on(model, [one.prompt for one in chosen]),
        _on(model, [one.anchor for one in chosen]),
        torch.tensor([one.target.index for one in chosen], device=model.device),
    )


def _place(number: int, captions: int, seeds: Seeds) -> int:
    turn, place = divmod(number, captions)
    order = torch.randperm(captions, generator=seeds.generator("order", turn))
    return int(order[place])


def _embedding(model: TargetModel, caption: str) -> Embeddings:
    [row] = unstacked(model.encode_prompt([caption]))
    return {name: value.float().cpu() for name, value in row.items()}


def _on(model: TargetModel, rows: Sequence[Embeddings]) -> Embeddings:
    return {name: value.to(model.device) for name, value in stacked(rows).items()}
