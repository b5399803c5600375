"""Noise differences: what the U-Net makes of pure noise, with neurons blocked or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dorib import Embeddings, TargetModel, stacked
from dorib_nemo.picks import Picks, scales


class Differences:
    """The U-Net's output on pure noise at one sampling timestep, made comparable.

    The difference is the output minus the noise where `subtract_noise`, else the raw output. Each
    channel of each difference is scaled to [0, 1].
    """

    def __init__(
        self,
        model: TargetModel,
        layers: Mapping[str, nn.Linear],
        noise: Tensor,
        timestep: int,
        subtract_noise: bool,
        batch_size: int,
    ) -> None:
        """Fix what all prompts share.

        `noise` is `[seeds, *latent_shape]`, unit variance; `timestep` counts the sampling
        timesteps from 1.
        """
        self._model = model
        self._layers = layers
        self._noise = noise.to(model.device, model.dtype)
        self._timestep = model.sampling_timesteps()[timestep - 1]
        self._latents = model.sampling_input(self._noise, self._timestep)
        self._subtract_noise = subtract_noise
        self._batch_size = batch_size

    @torch.no_grad()
    def __call__(
        self, prompt: Embeddings, index: int, seeds: Sequence[int], candidates: Sequence[Picks]
    ) -> Tensor:
        """Differences under each of `candidates`: float32 `[candidates, seeds, *latent_shape]`.

        `prompt` is one item without a batch axis, `index` the sample index that the work is
        written to.
        """
        seed = torch.tensor(seeds, device=self._model.device).repeat(len(candidates))
        candidate = torch.arange(len(candidates), device=seed.device).repeat_interleave(len(seeds))
        masks = self._masks(candidates)
        outputs = []
        for rows in torch.split(torch.arange(len(seed), device=seed.device), self._batch_size):
            with _multiplied({layer: mask[candidate[rows]] for layer, mask in masks.items()}):
                outputs.append(
                    self._model.predict(
                        self._latents[seed[rows]],
                        self._timestep.expand(len(rows)),
                        stacked([prompt] * len(rows)),
                        torch.full_like(rows, index),
                    )
                )
        difference = torch.cat(outputs)
        if self._subtract_noise:
            difference = difference - self._noise[seed]
        return _scaled(difference.float()).view(len(candidates), len(seeds), *difference.shape[1:])

    def _masks(self, candidates: Sequence[Picks]) -> dict[nn.Linear, Tensor]:
        """`[candidates, d_out]` for each layer in which anything is blocked."""
        factors = [scales(candidate, self._layers) for candidate in candidates]
        masks = {
            layer: torch.stack([factor[name] for factor in factors]).to(layer.weight)
            for name, layer in self._layers.items()
        }
        return {layer: mask for layer, mask in masks.items() if not mask.all()}


def _scaled(difference: Tensor) -> Tensor:
    low, high = difference.amin((2, 3), keepdim=True), difference.amax((2, 3), keepdim=True)
    return (difference - low) / (high - low).clamp_min(torch.finfo(difference.dtype).tiny)


@contextmanager
def _multiplied(masks: Mapping[nn.Linear, Tensor]) -> Iterator[None]:
    """Multiply the layers' outputs by an item's own mask, `[B, d_out]`.

    An edit cannot serve: it selects its rows by sample index, and candidates share theirs.
    """
    with ExitStack() as stack:
        for layer, mask in masks.items():
            handle = layer.register_forward_hook(_multiply(mask.unsqueeze(1)))
            stack.callback(handle.remove)
        yield


def _multiply(mask: Tensor) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    def hook(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        return output * mask

    return hook
