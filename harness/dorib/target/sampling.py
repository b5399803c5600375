"""The sampling loop: one generator an item, any diffusers scheduler."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dorib.contracts.methods import Step

if TYPE_CHECKING:
    from dorib.contracts.embeddings import Embeddings
    from dorib.contracts.target_model import TargetModel
    from dorib.contracts.triggers import ImageStart
    from dorib.target.editing.rules import RulesInForce


def sample_latents(
    model: TargetModel,
    rules: RulesInForce,
    scheduler: Any,
    embeddings: Embeddings,
    generators: Sequence[torch.Generator],
    samples: Tensor,
    steps: int | None = None,
    start: ImageStart | None = None,
) -> Tensor:
    """Denoise to clean latents `[B, *latent_shape]`, or stop after the first `steps`.

    `scheduler` is one of `planned_scheduler`'s, and used up. The initial noise of item i is drawn
    from `generators[i]` in float32 on the CPU, whatever the batch, device or dtype. `start` holds
    latents with a batch axis; the steps before its strength are left out, as in diffusers.
    """
    noise = torch.cat([initial_noise(model, generator) for generator in generators])
    noise = noise.to(model.device, model.dtype)
    embeddings = {name: value.to(model.device, model.dtype) for name, value in embeddings.items()}
    samples = samples.to(model.device)
    embeddings = rules.embed(model, embeddings, noise, samples)
    noise = rules.start(model, noise, embeddings, samples)
    first, latents = _beginning(model, scheduler, noise, start)
    extra = step_arguments(scheduler, generators)
    states: list[dict[str, Any]] = [{} for _ in generators]
    total = len(scheduler.timesteps)
    for index, timestep in enumerate(scheduler.timesteps[:steps]):
        if index < first:
            continue
        shown = scheduler.scale_model_input(latents, timestep)
        each = timestep.expand(len(latents))
        scale = model.sampling.guidance_scale
        if rules.guides:
            unconditional, conditional = model.predict_both(shown, each, embeddings, samples)
            step = Step(model, index, total, timestep, shown, embeddings, samples, states)
            output = rules.guide(step, unconditional, conditional, scale)
        else:
            output = model.predict(shown, each, embeddings, samples, scale)
        latents = scheduler.step(output, timestep, latents, return_dict=False, **extra)[0]
    return latents


def _beginning(
    model: TargetModel, scheduler: Any, noise: Tensor, start: ImageStart | None
) -> tuple[int, Tensor]:
    """The first step, and the latents that it is taken from."""
    if start is None:
        return 0, noise * scheduler.init_noise_sigma
    total = len(scheduler.timesteps)
    # A sampler of higher order visits some timesteps twice.
    order = getattr(scheduler, "order", 1)
    kept = min(total, max(1, int(total // order * start.strength)) * order)
    first = total - kept
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    latents = start.latents.to(model.device, model.dtype)
    at = scheduler.timesteps[first].expand(len(noise))
    return first, scheduler.add_noise(latents, noise, at)


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
