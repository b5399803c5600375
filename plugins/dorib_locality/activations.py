"""What the value and feed-forward layers do under each embedding, while the model samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from dorib import Advance, Seeds, TargetModel
from dorib_locality.geometry import Floats

Reduction = Literal["mean", "mean_absolute"]


@dataclass(frozen=True)
class Recording:
    """Activation vectors of n embeddings."""

    timesteps: tuple[int, ...]
    """The model's training timesteps at which the feed-forward layers were observed."""
    value: dict[str, Floats]
    """By value layer, `[n, d_out]`. A linear map of the embedding alone: no noise or timestep
    changes it."""
    feed_forward: dict[str, Floats]
    """By feed-forward layer, `[n, noises, timesteps, d_in]`."""


@dataclass
class _Observer:
    """Collects what hooks see of one batch, at the chosen sampling steps."""

    batch: int
    chosen: frozenset[int]
    reduce: Callable[[Tensor], Tensor]
    steps: Counter[str] = field(default_factory=Counter)
    """By layer: how many steps it has been through. Each step is one pass through the U-Net."""
    seen: dict[str, list[Tensor]] = field(default_factory=dict)

    def see(self, name: str, activations: Tensor) -> None:
        """Keep the mean over tokens of the conditional half, `[batch, d]`."""
        step = self.steps[name]
        self.steps[name] += 1
        if step in self.chosen:
            # The unconditional half of a guidance batch stands before the conditional one.
            rows = activations[-self.batch :].flatten(1, -2).float()
            self.seen.setdefault(name, []).append(self.reduce(rows).cpu())


def record(
    model: TargetModel,
    embeddings: Tensor,
    noises: int,
    timesteps: int,
    reduction: Reduction,
    batch_size: int,
    seeds: Seeds,
    advance: Advance,
) -> Recording:
    """Sample from each of `embeddings` `[n, tokens, width]` and record the activations.

    Recorded are the value layers' output (where NeMo looks) and the feed-forward output layers'
    input (where Wanda looks), in the conditional half of the guidance batch, reduced over the
    tokens to one vector. All embeddings start from the same `noises` starting latents; at
    later timesteps each is on its own way. `timesteps` of the sampling steps are looked at, the
    first and the last among them.
    """
    steps = model.sampling.steps
    chosen = np.unique(np.linspace(0, steps - 1, min(timesteps, steps)).round().astype(int))
    items = list(product(range(len(embeddings)), range(noises)))
    value: dict[str, list[Tensor]] = {}
    feed_forward: dict[str, list[Tensor]] = {}
    for start in range(0, len(items), batch_size):
        batch = items[start : start + batch_size]
        with _observing(model, len(batch), frozenset(chosen.tolist()), reduction) as observer:
            model.sample_latents(
                {"prompt_embeds": torch.stack([embeddings[i] for i, _ in batch])},
                [seeds.generator("noise", noise) for _, noise in batch],
                torch.arange(len(batch), device=model.device),
                steps=int(chosen[-1]) + 1,
            )
        for name in model.cross_attention_value_layers():
            value.setdefault(name, []).append(observer.seen[name][0])
        for name in model.feed_forward_layers():
            feed_forward.setdefault(name, []).append(torch.stack(observer.seen[name], dim=1))
        advance(len(batch))

    def stacked(parts: Mapping[str, list[Tensor]]) -> dict[str, Floats]:
        whole = {name: torch.cat(tensors).double().numpy() for name, tensors in parts.items()}
        return {name: a.reshape(-1, noises, *a.shape[1:]) for name, a in whole.items()}

    return Recording(
        timesteps=tuple(int(model.sampling_timesteps()[step]) for step in chosen),
        value={name: vectors[:, 0] for name, vectors in stacked(value).items()},
        feed_forward=stacked(feed_forward),
    )


@contextmanager
def _observing(
    model: TargetModel, batch: int, chosen: frozenset[int], reduction: Reduction
) -> Iterator[_Observer]:
    observer = _Observer(batch, chosen, _mean if reduction == "mean" else _mean_absolute)
    with ExitStack() as stack:

        def hooked(handle: Any) -> None:
            stack.callback(handle.remove)

        for name, layer in model.cross_attention_value_layers().items():
            hooked(layer.register_forward_hook(_output(observer, name)))
        for name, layer in model.feed_forward_layers().items():
            hooked(layer.register_forward_pre_hook(_input(observer, name)))
        yield observer


def _output(observer: _Observer, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
    def hook(module: nn.Module, arguments: Any, output: Tensor) -> None:
        observer.see(name, output)

    return hook


def _input(observer: _Observer, name: str) -> Callable[[nn.Module, Any], None]:
    def hook(module: nn.Module, arguments: Sequence[Tensor]) -> None:
        observer.see(name, arguments[0])

    return hook


def _mean(rows: Tensor) -> Tensor:
    return rows.mean(dim=1)


def _mean_absolute(rows: Tensor) -> Tensor:
    return rows.abs().mean(dim=1)
