"""The target model of a suite, loaded as its settings say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import torch

from dorib.errors import DoribError
from dorib.host.registry import Registry
from dorib.store.fingerprint import digest, file_digest, model_digest
from dorib.suites.fetch.hub import commit_of
from dorib.suites.suite import Suite
from dorib.target.loading import load_pipeline
from dorib.target.model import DiffusersModel
from dorib.target.trial import try_out
from dorib.verbs.settings import Settings

Dtype: TypeAlias = Literal["float32", "bfloat16", "float16"]
DTYPE_OF_DEVICE: Mapping[str, Dtype] = {"cuda": "bfloat16"}
"""Where not asked otherwise, by kind of device; float32 on all others.

By the kind alone and not by the card: what is computed must not depend on which one is free.
"""


def load_target_model(
    suite: Suite,
    settings: Settings,
    device: torch.device,
    registry: Registry,
    version: str | None,
) -> DiffusersModel:
    """The suite's pipeline on `device`, ready for methods.

    Args:
        suite: whose pipeline, and how its images are generated.
        settings: number format, and what saves memory or time.
        device: as `usable_device` gives it.
        registry: holds the rules that edits name.
        version: as `pipeline_version` gives it: of a pipeline on the hub this commit is loaded.

    Raises:
        DoribError: the pipeline is not there, broken or of another kind, or cannot make an image
            with the suite's settings.
    """
    source = suite.component(suite.manifest.pipeline)
    commit = None if Path(source).exists() else version
    dtype: torch.dtype = getattr(torch, usable_dtype(settings, device))
    pipeline = load_pipeline(source, device, dtype, commit, suite.pipeline_configuration)
    model = DiffusersModel(pipeline, suite.manifest.sampling, registry)
    try_out(model, f"pipeline {source}")
    if settings.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    if settings.vae_slicing:
        model.enable_vae_slicing()
    if settings.offload:
        model.enable_offload()
    if settings.channels_last:
        model.enable_channels_last()
    if settings.compile:
        model.compile()
    return model


def pipeline_version(suite: Suite) -> str | None:
    """Digest of the pipeline's files, or its commit on the hub; None where that is unknown."""
    source = Path(suite.component(suite.manifest.pipeline))
    if source.is_dir():
        return model_digest(source)
    if source.is_file():
        configuration = Path(suite.pipeline_configuration or "")
        return digest([file_digest(source), model_digest(configuration)])
    return commit_of(str(source))


def usable_device(settings: Settings) -> torch.device:
    """Where the model runs.

    Raises:
        DoribError: there is no such device here.
    """
    name = settings.device
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise DoribError(
            f"--device {name}: not usable here ({reason}); leave it out or give 'cpu'"
        ) from error
    return device


def usable_dtype(settings: Settings, device: torch.device) -> Dtype:
    """The model's number format on `device`: the one asked for, else the kind of device decides."""
    if settings.dtype != "auto":
        return settings.dtype
    return DTYPE_OF_DEVICE.get(device.type, "float32")
