"""Activation norms of the feed-forward layers while a model samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dorib import Embeddings, TargetModel, stacked


@dataclass(frozen=True)
class Run:
    """One image to sample: from which prompt and noise, and where its norms go."""

    prompt: Embeddings
    """Its embeddings without a batch axis, in the model's dtype."""
    generator: torch.Generator
    index: int
    """Sample index that the work is written to."""
    group: int
    """Runs of one group share their norms."""


def mean_squared_norms(
    model: TargetModel, runs: Sequence[Run], timesteps: int, batch_size: int
) -> dict[str, Tensor]:
    """Squared column norms of each layer's input over the first sampling timesteps.

    Gives, for each feed-forward layer, `[groups, timesteps, d_in]`, float32 on the model's device:
    the sum over all rows (image tokens, both guidance halves) of a run's input, each row scaled to
    unit L2 length first, averaged over the runs of the group. The same number of runs is expected
    in each group.
    """
    groups = 1 + max(run.group for run in runs)
    layers = model.feed_forward_layers()
    totals = {
        name: torch.zeros(groups, timesteps, layer.in_features, device=model.device)
        for name, layer in layers.items()
    }
    waiting = iter(runs)
    while batch := list(islice(waiting, batch_size)):
        into = torch.tensor([run.group for run in batch], device=model.device)
        with _observed(layers, len(batch)) as observed:
            model.sample_latents(
                stacked([run.prompt for run in batch]),
                [run.generator for run in batch],
                torch.tensor([run.index for run in batch], device=model.device),
                steps=timesteps,
            )
        for name, steps in observed.items():
            totals[name].index_add_(0, into, torch.stack(steps, dim=1))
    return {name: total * groups / len(runs) for name, total in totals.items()}


@contextmanager
def _observed(
    layers: Mapping[str, nn.Linear], batch_size: int
) -> Iterator[dict[str, list[Tensor]]]:
    """Squared column norms `[batch_size, d_in]` of each layer's input, one for each forward."""
    observed: dict[str, list[Tensor]] = {name: [] for name in layers}
    with ExitStack() as stack:
        for name, layer in layers.items():
            handle = layer.register_forward_pre_hook(_observer(observed[name], batch_size))
            stack.callback(handle.remove)
        yield observed


def _observer(steps: list[Tensor], batch_size: int) -> Callable[[nn.Module, Any], None]:
    def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        rows = functional.normalize(arguments[0].flatten(1, -2).float(), dim=-1)
        squares = rows.square().sum(dim=1)
        # The unconditional half of a guidance batch stands before the conditional one.
        steps.append(squares.view(-1, batch_size, squares.shape[1]).sum(dim=0))

    return hook
