"""The sampling loop: one generator an item, any diffusers scheduler."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from dorib.contracts.embeddings import Embeddings
    from dorib.contracts.target_model import TargetModel


def sample_latents(
    model: TargetModel,
    scheduler: Any,
    embeddings: Embeddings,
    generators: Sequence[torch.Generator],
    samples: Tensor,
    steps: int | None = None,
) -> Tensor:
    """Denoise to clean latents `[B, *latent_shape]`, or stop after the first `steps`.

    `scheduler` is one of `planned_scheduler`'s, and used up. The initial noise of item i is drawn
    from `generators[i]` in float32 on the CPU, whatever the batch, device or dtype.
    """
    initial = torch.cat([initial_noise(model, generator) for generator in generators])
    latents: Tensor = initial.to(model.device, model.dtype) * scheduler.init_noise_sigma
    embeddings = {name: value.to(model.device, model.dtype) for name, value in embeddings.items()}
    extra = step_arguments(scheduler, generators)
    for timestep in scheduler.timesteps[:steps]:
        output = model.predict(
            scheduler.scale_model_input(latents, timestep),
            timestep.expand(len(latents)),
            embeddings,
            samples,
            model.sampling.guidance_scale,
        )
        latents = scheduler.step(output, timestep, latents, return_dict=False, **extra)[0]
    return latents


def initial_noise(model: TargetModel, generator: torch.Generator) -> Tensor:
    """One item's starting noise `[1, *latent_shape]`, float32 on the CPU."""
    return torch.randn((1, *model.latent_shape), generator=generator)


def planned_scheduler(scheduler: Any, steps: int, device: torch.device) -> Any:
    """A copy of `scheduler` with its timesteps set: one for each sampling, as it keeps state."""
    planned = copy.deepcopy(scheduler)
    planned.set_timesteps(steps, device=device)
    return planned


def step_arguments(scheduler: Any, generators: Sequence[torch.Generator]) -> dict[str, Any]:
    """What a step takes beside its latents: one generator an item, where it draws noise."""
    accepted = inspect.signature(scheduler.step).parameters
    return {"generator": list(generators)} if "generator" in accepted else {}
