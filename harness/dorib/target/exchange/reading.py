"""Weights from elsewhere that are meant for a suite's pipeline, by component."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dorib.errors import DoribError
from dorib.target.components import PipelineFolder, load_module
from dorib.target.editing.installing import COMPONENTS
from dorib.target.loading import load_unet_weights
from dorib.target.model import DiffusersModel
from dorib.target.quiet import loading
from dorib.target.single_file import UNET_PREFIX, load_single_file
from dorib.weights.files import TensorFile
from dorib.weights.folders import ModelFolder

if TYPE_CHECKING:
    from dorib.contracts.target_model import TargetModel

_TEXT_PREFIXES = {
    "text_encoder": ("cond_stage_model.", "conditioner.embedders.0."),
    "text_encoder_2": ("conditioner.embedders.1.",),
}
"""How the names of a text encoder's tensors begin in Stable Diffusion's original form."""


def load_component_weights(folder: Path) -> dict[str, Tensor]:
    """The parameters of a U-Net's folder or a text encoder's, as `save_pretrained` writes one.

    Float32, on the CPU; shards and half-precision variants are read as well.

    Raises:
        DoribError: it is of another kind, a file leads elsewhere, or the weights are missing,
            truncated, not finite or not those that its config.json asks for.
    """
    import transformers

    own = ModelFolder(folder, folder, f"checkpoint {folder}")
    own.check()
    configuration = own.configuration()
    if configuration.get("_class_name") == "UNet2DConditionModel":
        return load_unet_weights(folder)
    classes = configuration.get("architectures")
    name = classes[0] if isinstance(classes, list) and classes else None
    with loading(own.what):
        kind: Any = getattr(transformers, name, None) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        shown = str(configuration.get("_class_name") or name or "nothing")[:80]
        raise DoribError(
            f"{own.what}: its config.json names {shown}; give the folder of a UNet2DConditionModel "
            "or of a text encoder"
        )
    return _parameters(load_module(kind, own, "model", torch.float32))


def load_pipeline_weights(folder: Path, model: TargetModel) -> dict[str, dict[str, Tensor]]:
    """By component, the parameters of the U-Net and the text encoders of a pipeline's folder.

    Float32, on the CPU. Its other components are not read, but that its scheduler must predict
    what that of `model` predicts.

    Raises:
        DoribError: a component is missing, broken or leads elsewhere, or the folder names code or
            was made for another kind of prediction.
    """
    pipeline = PipelineFolder(folder, str(folder))
    classes = pipeline.classes()
    if "scheduler" in classes:
        scheduler = pipeline.component("scheduler").configuration("scheduler_config.json")
        predicts = scheduler.get("prediction_type", "epsilon")
        if predicts != model.prediction_type:
            raise DoribError(
                f"{pipeline.what}: was made to predict {str(predicts)[:80]}, and the suite's "
                f"pipeline predicts {model.prediction_type}; give what was made of the latter"
            )
    held = [name for name in COMPONENTS if name in classes]
    return {name: _parameters(pipeline.load(name, torch.float32)) for name in held}


def load_single_file_weights(path: Path, model: TargetModel) -> dict[str, dict[str, Tensor]]:
    """By component, the parameters that one file in Stable Diffusion's original form holds.

    Float32, on the CPU, by the names that they have in `model`, whose configurations are taken.

    Raises:
        DoribError: it holds no U-Net, lacks a tensor or has one too much, one is not finite, or
            diffusers cannot read it.
    """
    what = f"checkpoint {path}"
    names = TensorFile.open(path, what).names
    if not isinstance(model, DiffusersModel):
        raise DoribError(f"{what}: single files are read for diffusers pipelines alone")
    pipeline = model.pipeline
    held = [
        name
        for name, prefixes in _TEXT_PREFIXES.items()
        if getattr(pipeline, name, None) is not None
        and any(key.startswith(prefixes) for key in names)
    ]
    read = {"unet", *held}
    with TemporaryDirectory() as place:
        folder = Path(place)
        with loading(what):
            _write_configurations(pipeline, folder)
        configurations = PipelineFolder(folder, str(path))
        others = configurations.classes().keys() - read
        given = {name: getattr(pipeline, name) for name in others}
        found = load_single_file(path, configurations, torch.float32, given)
    return {name: _parameters(getattr(found, name)) for name in COMPONENTS if name in read}


def is_original_form(file: TensorFile) -> bool:
    """Whether a file is in Stable Diffusion's original form, by its tensors' names."""
    prefixes = (UNET_PREFIX, *(p for own in _TEXT_PREFIXES.values() for p in own))
    return any(name.startswith(prefixes) for name in file.names)


def _write_configurations(pipeline: Any, folder: Path) -> None:
    pipeline.save_config(folder)
    pipeline.unet.save_config(folder / "unet")
    for name in _TEXT_PREFIXES:
        encoder = getattr(pipeline, name, None)
        if encoder is not None:
            encoder.config.save_pretrained(folder / name)


def _parameters(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in module.named_parameters()}
