"""Which of the forms a checkpoint has, and what it changes."""

from __future__ import annotations

from pathlib import Path

from dorib import (
    AddLowRank,
    DoribError,
    ModelFolder,
    ReplaceWeights,
    TargetModel,
    TensorFile,
    is_original_form,
    load_component_weights,
    load_pipeline_weights,
    load_single_file_weights,
)
from dorib_checkpoint.lora import is_lora, low_rank_change
from dorib_checkpoint.peft_folder import ADAPTER_CONFIG, adapter_change
from dorib_checkpoint.weights import by_component, component_of_folder, replaced

LORA_FILE = "pytorch_lora_weights.safetensors"
"""What diffusers calls a LoRA in a folder."""


def change_of(path: Path, model: TargetModel, *, partial: bool) -> ReplaceWeights | AddLowRank:
    """What the checkpoint at `path` changes in `model`.

    Raises:
        DoribError: it is of no form that is read, is broken or not complete, does not fit the
            model, or changes nothing.
    """
    what = f"checkpoint {path}"
    file = TensorFile.open(path, what) if not path.is_dir() else None
    if file is not None and not file.names:
        raise DoribError(f"{what}: holds no tensor; restore the file")
    if file is None or is_original_form(file) or is_lora(file.names):
        if partial:
            raise DoribError(
                f"{what}: partial=true is for a file of weights by diffusers' names, which this "
                "is not; leave it out"
            )
        return _of_folder(path, model, what) if file is None else _of_file(file, model)
    weights = by_component(file.read(), model, what)
    return replaced(weights, model, what, partial=partial)


def _of_file(file: TensorFile, model: TargetModel) -> ReplaceWeights | AddLowRank:
    if is_original_form(file):
        return replaced(load_single_file_weights(file.path, model), model, file.what)
    return low_rank_change(file, model)


def _of_folder(path: Path, model: TargetModel, what: str) -> ReplaceWeights | AddLowRank:
    folder = ModelFolder(path, path, what)
    if _holds(path, ADAPTER_CONFIG):
        return adapter_change(folder, model)
    if _holds(path, "model_index.json"):
        return replaced(load_pipeline_weights(path, model), model, what)
    if _holds(path, "config.json"):
        weights = load_component_weights(path)
        component = component_of_folder(path, weights, model)
        return replaced({component: weights}, model, what)
    if _holds(path, LORA_FILE):
        return low_rank_change(TensorFile.open(folder.file(LORA_FILE), what), model)
    raise DoribError(
        f"{what}: holds none of model_index.json (a pipeline), config.json (a U-Net or a text "
        f"encoder), {ADAPTER_CONFIG} (PEFT) and {LORA_FILE}; name the folder or the file itself"
    )


def _holds(folder: Path, name: str) -> bool:
    return (folder / name).exists() or (folder / name).is_symlink()
