"""Loading a diffusers pipeline or a U-Net's weights: safetensors only, no code from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dorib.errors import DoribError
from dorib.target.components import (
    INDEX,
    NOT_NEEDED,
    PipelineFolder,
    load_module,
)
from dorib.target.quiet import loading
from dorib.target.single_file import load_single_file
from dorib.weights.folders import ModelFolder, own_file

_PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
_KIND = "a text-to-image pipeline in the manner of Stable Diffusion 1.x, 2.x or XL"
_NEEDS = (
    "it needs a complete diffusers folder with safetensors weights, one .safetensors file and a "
    "pipeline_config, or a hub id and a connection"
)


def load_pipeline(
    source: str,
    device: torch.device,
    dtype: torch.dtype,
    commit: str | None = None,
    configuration: str | None = None,
) -> Any:
    """Load a text-to-image pipeline with a `UNet2DConditionModel`; the autoencoder in float32.

    `source` is a diffusers folder, a hub id, or one safetensors file that holds a whole pipeline
    in Stable Diffusion's original form; the last needs `configuration`, a diffusers folder whose
    weights are not read. `commit` is that of a hub id; None takes the newest.

    Raises:
        DoribError: a file is missing, truncated, not safetensors or leads out of the folder, a
            component is not complete and finite, the folder names code, or the pipeline is of
            another kind.
    """
    what = f"pipeline {source}"
    check_pipeline(source, configuration)
    if Path(source).is_file():
        assert configuration is not None
        pipeline = load_single_file(
            Path(source), PipelineFolder(Path(configuration), source), dtype
        )
    else:
        fetched = None if Path(source).is_dir() else _from_hub(source, commit)
        folder = PipelineFolder(fetched or Path(source), source)
        if fetched:
            folder.check()
        pipeline = _from_folder(folder, dtype)
    obstacle = _obstacle(pipeline)
    if obstacle is not None:
        raise DoribError(f"{what}: {type(pipeline).__name__} {obstacle}; give {_KIND}")
    pipeline.set_progress_bar_config(disable=True)
    with loading(what, f"the device is {device}"):
        return pipeline.to(device)


def check_pipeline(source: str, configuration: str | None = None) -> None:
    """See that nothing on this machine's disk leads elsewhere or names code; loads nothing.

    Raises:
        DoribError: something does, or a file is missing or cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        PipelineFolder(path, source).check()
    elif path.is_file():
        if configuration is None or not Path(configuration).is_dir():
            raise DoribError(
                f"pipeline {source}: is a single file, which needs a pipeline_config in "
                "suite.yaml: a diffusers folder with the configurations and the tokenizer"
            )
        own_file(path, path.parent, f"pipeline {source}")
        PipelineFolder(Path(configuration), configuration).check(with_weights=False)


def check_oracle_files(folder: Path) -> None:
    """See that a U-Net's folder leads nowhere else and names no code; loads nothing.

    Raises:
        DoribError: it does, or a file is missing or cannot be read.
    """
    own = _unet_folder(folder)
    own.check()
    own.configuration()
    own.weights("diffusion_pytorch_model")


def _unet_folder(folder: Path) -> ModelFolder:
    return ModelFolder(folder, folder, f"U-Net {folder}")


def _from_folder(folder: PipelineFolder, dtype: torch.dtype) -> Any:
    from diffusers import DiffusionPipeline

    lacking = {"unet", "vae", "text_encoder", "tokenizer", "scheduler"} - folder.classes().keys()
    if lacking:
        raise DoribError(
            f"{folder.what}: {INDEX} names no {', '.join(sorted(lacking))}; give {_KIND}"
        )
    parts = {name: folder.load(name, dtype) for name in folder.classes()}
    with loading(folder.what, _NEEDS):
        return DiffusionPipeline.from_pretrained(
            str(folder.path),
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            **dict.fromkeys(NOT_NEEDED),
            **parts,
        )


def _from_hub(source: str, commit: str | None) -> Path:
    from diffusers import DiffusionPipeline

    with loading(f"pipeline {source}", _NEEDS):
        return Path(
            DiffusionPipeline.download(
                source,
                revision=commit,
                use_safetensors=True,
                trust_remote_code=False,
                **dict.fromkeys(NOT_NEEDED),
            )
        )


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
    if not isinstance(getattr(pipeline.scheduler, "alphas_cumprod", None), Tensor):
        return (
            f"has the scheduler {type(pipeline.scheduler).__name__}, which knows no alphas_cumprod"
        )
    # transformers makes up an empty vocabulary where the files of a tokenizer are missing.
    for one, other in (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2")):
        words, encoder = getattr(pipeline, one, None), getattr(pipeline, other, None)
        if words is None or encoder is None:
            continue
        known, size = len(words), encoder.config.vocab_size
        if 2 * known < size:
            return f"has a {one} with {known} of the text encoder's {size} tokens"
        if known > size:
            return f"has a {one} with {known} tokens, but its text encoder knows {size}"
    return None


def load_unet_weights(folder: Path) -> dict[str, Tensor]:
    """The parameters of a U-Net folder, as `save_pretrained` writes one; float32 on the CPU.

    Shards and half-precision variants are read as well.

    Raises:
        DoribError: the weights are missing, truncated or not those that its config.json asks for,
            or one of them is not finite.
    """
    from diffusers import UNet2DConditionModel

    own = _unet_folder(folder)
    module = load_module(UNet2DConditionModel, own, "diffusion_pytorch_model", torch.float32)
    weights: dict[str, Tensor] = dict(module.state_dict())
    return weights
