"""One safetensors file that holds a whole pipeline, in Stable Diffusion's original form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dorib.errors import DoribError
from dorib.target.components import (
    AUTOENCODER,
    INDEX,
    NOT_NEEDED,
    PipelineFolder,
    refuse_too_many_layers,
)
from dorib.target.quiet import loading
from dorib.weights.files import TensorFile
from dorib.weights.folders import read_json
from dorib.weights.tensors import require_complete, require_finite

UNET_PREFIX = "model.diffusion_model."
"""How the names of a U-Net's tensors begin in that form."""


def load_single_file(
    path: Path,
    folder: PipelineFolder,
    dtype: torch.dtype,
    given: Mapping[str, Any] | None = None,
) -> Any:
    """The pipeline in `path`, its configurations and tokenizer from `folder`; no connection.

    In `dtype`, but for the autoencoder, which is in float32.

    `given` are components, by name, that are not read: they are the pipeline's as they are.

    Raises:
        DoribError: the file is no safetensors, or lacks a tensor, has one too much or one that is
            not finite; or diffusers cannot read it.
    """
    import diffusers

    name = read_json(folder.path / INDEX, folder.what)["_class_name"]
    kind: Any = getattr(diffusers, name, None)
    if not hasattr(kind, "from_single_file"):
        raise DoribError(
            f"{folder.what}: a {name} cannot be read from a single file; give a folder"
        )
    for component in folder.classes():
        folder.class_of(component)
    given = given or {}
    names = TensorFile.open(path, folder.what).names
    adapters = [key for key in names if "lora" in key.lower()]
    require_complete((), adapters, (), folder.what)
    _refuse_another_unet(folder, names)
    with loading(folder.what, "it needs a whole pipeline in Stable Diffusion's original form"):
        pipeline = kind.from_single_file(
            str(path),
            config=str(folder.path),
            dtype=torch.float32,
            local_files_only=True,
            **dict.fromkeys(NOT_NEEDED),
            **given,
        )
    for component in folder.classes():
        if component in given:
            continue
        module = getattr(pipeline, component)
        if isinstance(module, torch.nn.Module):
            if component != AUTOENCODER:
                torch.nn.Module.to(module, dtype)
            require_finite(module.state_dict(), f"{folder.what}: {component}")
    return pipeline


def _refuse_another_unet(folder: PipelineFolder, names: Sequence[str]) -> None:
    """What diffusers has no place for it would pass over."""
    from diffusers import UNet2DConditionModel

    own = folder.component("unet")
    refuse_too_many_layers(own, len(names))
    if not isinstance(own.configuration().get("layers_per_block", 2), int):
        raise DoribError(
            f"{folder.what}: a U-Net whose blocks have different numbers of layers has no single "
            "file in Stable Diffusion's original form; give a folder"
        )
    with loading(own.what), torch.device("meta"):
        asked = len(UNet2DConditionModel.from_config(own.configuration()).state_dict())
    held = sum(name.startswith(UNET_PREFIX) for name in names)
    if held != asked:
        raise DoribError(
            f"{folder.what}: holds {held} tensors of a U-Net, but its pipeline_config asks for "
            f"{asked}; give the whole file, and the configuration that belongs to it"
        )
