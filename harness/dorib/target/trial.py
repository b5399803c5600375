"""One image in small through every component: what would fail hours later fails now."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dorib.contracts.seeds import Seeds
from dorib.errors import DoribError
from dorib.target.model import DiffusersModel
from dorib.target.quiet import loading
from dorib.target.sampling import planned_scheduler, step_arguments


def try_out(model: DiffusersModel, what: str) -> None:
    """Encode a caption and an image, predict once, decode, and plan the sampling.

    Latents are as small as the U-Net takes them; the scheduler takes all of its steps. No work is
    counted, and no state is left.

    Raises:
        DoribError: a component cannot be used, or what comes out of it is not finite; `what` names
            the model.
    """
    _try_scheduler(model, what)
    advice = "its components do not fit together; give another model"
    with torch.no_grad(), loading(what, advice):
        embeddings = model.encode_prompt(["a"])
    for name, value in embeddings.items():
        _require_finite(value, f"{what}: the text encoder's {name}")
    levels = len(model.pipeline.unet.config.block_out_channels)
    channels, height, width = model.latent_shape
    shape = (1, channels, min(height, 2**levels), min(width, 2**levels))
    # A torch whose generators are kept in another form is refused here, before any work.
    noise = torch.randn(shape, generator=Seeds().generator("trial"))
    latents = noise.to(model.device, model.dtype)
    with torch.no_grad(), loading(what, advice):
        timestep = model.sampling_timesteps()[:1]
        first, scale = torch.zeros(1, dtype=torch.int64), model.sampling.guidance_scale
        output = model.predict(latents, timestep, embeddings, first, scale)
        if output.shape != latents.shape:
            raise ValueError(f"of latents {shape} the U-Net makes {tuple(output.shape)}")
    _require_finite(output, f"{what}: the U-Net's output")
    with torch.no_grad(), loading(what, advice):
        image = model.decode(torch.zeros_like(latents))
        encoded = model.encode_image(torch.full_like(image, 0.5))
        if encoded.shape != latents.shape or image.shape[1] != 3:
            raise ValueError(f"of latents {shape} the autoencoder makes {tuple(image.shape)}")
    _require_finite(image, f"{what}: the autoencoder's image")
    _require_finite(encoded, f"{what}: the autoencoder's latents")


def _try_scheduler(model: DiffusersModel, what: str) -> None:
    scheduler, steps = model.pipeline.scheduler, model.sampling.steps
    with (
        torch.no_grad(),
        loading(
            f"{what}: {type(scheduler).__name__} with {steps} steps",
            "change steps in suite.yaml, or the pipeline's scheduler",
        ),
    ):
        planned = planned_scheduler(scheduler, steps, torch.device("cpu"))
        extra = step_arguments(planned, [torch.Generator().manual_seed(0)])
        latents = torch.zeros(1, 1, 8, 8) * planned.init_noise_sigma
        for timestep in planned.timesteps:
            shown = planned.scale_model_input(latents, timestep)
            latents = planned.step(shown, timestep, latents, return_dict=False, **extra)[0]
        spread = float(latents.abs().max())
        if not math.isfinite(spread):
            raise ValueError("its last latents are not finite")


def _require_finite(tensor: Tensor, what: str) -> None:
    if not bool(torch.isfinite(tensor).all()):
        kind = str(tensor.dtype).removeprefix("torch.")
        raise DoribError(
            f"{what} is not finite in {kind}; choose another --dtype, or give another model"
        )
