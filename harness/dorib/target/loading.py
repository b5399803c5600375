"""Loading a diffusers pipeline or a U-Net's weights: safetensors only, no code from outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dorib.errors import DoribError
from dorib.printable import one_line

_LOADING_ERRORS = (
    AttributeError,
    KeyError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)
_PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


def load_pipeline(
    source: str, device: torch.device, dtype: torch.dtype, commit: str | None = None
) -> Any:
    """Load a text-to-image pipeline with a `UNet2DConditionModel` from a folder or the hub.

    `commit` is that of a hub id; None takes the newest.

    Raises:
        DoribError: files are missing, truncated or not safetensors, or the pipeline is of another
            kind.
    """
    from diffusers import DiffusionPipeline

    try:
        with quiet():
            # A safety checker would blank images after the fact; none of its 1.2 GB is needed.
            pipeline = DiffusionPipeline.from_pretrained(
                source,
                revision=commit,
                dtype=dtype,
                use_safetensors=True,
                safety_checker=None,
            )
    except _LOADING_ERRORS as error:
        raise DoribError(
            f"pipeline {source}: cannot be loaded ({one_line(error)}); it needs a complete "
            "diffusers folder with safetensors weights, or a hub id and a connection"
        ) from error
    obstacle = _obstacle(pipeline)
    if obstacle is not None:
        raise DoribError(
            f"pipeline {source}: {type(pipeline).__name__} {obstacle}; give a complete "
            "text-to-image pipeline in the manner of Stable Diffusion 1.x, 2.x or XL"
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def _obstacle(pipeline: Any) -> str | None:
    """Why the pipeline cannot be a target model, if it cannot."""
    from diffusers import UNet2DConditionModel

    if not isinstance(getattr(pipeline, "unet", None), UNet2DConditionModel):
        return "has no UNet2DConditionModel"
    for name in ("vae", "text_encoder", "tokenizer", "scheduler"):
        if getattr(pipeline, name, None) is None:
            return f"has no {name}"
    unet = pipeline.unet.config
    if unet.addition_embed_type not in (None, "text_time") or unet.class_embed_type is not None:
        return "conditions its U-Net on more than text, and sizes as in SDXL"
    if unet.addition_embed_type and getattr(pipeline, "text_encoder_2", None) is None:
        return "has no text_encoder_2"
    channels = pipeline.vae.config.latent_channels
    if unet.in_channels != channels:
        return f"has a U-Net for {unet.in_channels} channels, but latents have {channels}"
    if pipeline.scheduler.config.get("prediction_type") not in _PREDICTION_TYPES:
        return f"has a scheduler that predicts none of {', '.join(_PREDICTION_TYPES)}"
    # transformers makes up an empty vocabulary where the files of a tokenizer are missing.
    known, size = len(pipeline.tokenizer), pipeline.text_encoder.config.vocab_size
    if 2 * known < size:
        return f"has a tokenizer with {known} of the text encoder's {size} tokens"
    return None


def load_unet_weights(folder: Path) -> dict[str, Tensor]:
    """The parameters of a U-Net folder, float32 on the CPU.

    Raises:
        DoribError: the weights are missing or truncated.
    """
    path = folder / "diffusion_pytorch_model.safetensors"
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DoribError(f"{path}: cannot be read ({one_line(error)}); restore the file") from error
    return {name: weight.to(torch.float32) for name, weight in weights.items()}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep diffusers and transformers from printing: only the command line prints.

    What matters of it (files that are missing or cannot be read) is raised as well.
    """
    import diffusers.utils.logging as diffusers_logging
    import transformers.utils.logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, verbosity in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
