"""Picked neurons, and how activations pick them: no U-Net needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

Picks: TypeAlias = tuple[tuple[int, ...], ...]
"""Blocked neurons of each layer, in the order in which they are tested."""


@torch.no_grad()
def activations(layers: Mapping[str, nn.Linear], prompts: Tensor) -> list[Tensor]:
    """Mean over all tokens, padding included, of `|W_v h|`: float32 `[B, d_out]` for each layer.

    `prompts` is `[B, tokens, width]`. The values are a linear map of the text embedding.
    """
    return [layer(prompts).float().abs().mean(dim=1) for layer in layers.values()]


@dataclass(frozen=True)
class Statistics:
    """How active each neuron is on non-memorized prompts."""

    means: Sequence[Tensor]
    """float32 `[d_out]` for each layer."""
    deviations: Sequence[Tensor]
    """Unbiased standard deviations, of the same shapes."""

    @classmethod
    def of(cls, batches: Iterable[Sequence[Tensor]]) -> Statistics:
        """From the `activations` of at least two prompts, batch by batch."""
        layers = [torch.cat(parts) for parts in zip(*batches, strict=True)]
        return cls([layer.mean(dim=0) for layer in layers], [layer.std(dim=0) for layer in layers])

    def picks(self, activation: Sequence[Tensor], theta: float, k: int, repeat: bool) -> Picks:
        """Neurons that deviate by more than `theta`, then the `k` most active of each layer.

        `activation` is `[d_out]` for each layer. With `repeat`, a neuron chosen on both grounds is
        listed twice, as in the authors' code.
        """
        picks = []
        for own, mean, deviation in zip(activation, self.means, self.deviations, strict=True):
            unusual = ((own - mean).abs() / deviation > theta).nonzero().flatten().tolist()
            strongest = own.topk(min(k, len(own))).indices.tolist()
            chosen = [*unusual, *strongest]
            picks.append(tuple(chosen if repeat else dict.fromkeys(chosen)))
        return tuple(picks)


def blocked(picks: Picks) -> frozenset[tuple[int, int]]:
    """What the picks do to the model, as (layer, neuron): neither order nor repetition counts."""
    return frozenset((layer, neuron) for layer, chosen in enumerate(picks) for neuron in chosen)


def without_layer(picks: Picks, layer: int) -> Picks:
    """`picks` with one layer unblocked."""
    return (*picks[:layer], (), *picks[layer + 1 :])


def without_neuron(picks: Picks, layer: int, neuron: int) -> Picks:
    """`picks` without the neuron's first mention; if it is listed twice it stays blocked."""
    position = picks[layer].index(neuron)
    shorter = picks[layer][:position] + picks[layer][position + 1 :]
    return (*picks[:layer], shorter, *picks[layer + 1 :])


def scales(picks: Picks, layers: Mapping[str, nn.Linear]) -> dict[str, Tensor]:
    """Factors for the layers' outputs: 0 for picked neurons, else 1; float32 `[d_out]` each."""
    factors = {name: torch.ones(layer.out_features) for name, layer in layers.items()}
    for factor, chosen in zip(factors.values(), picks, strict=True):
        factor[list(chosen)] = 0
    return factors
