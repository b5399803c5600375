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
from dorib_checkpoint.weights import COMPONENTS, by_component, component_of_folder, replaced

LORA_FILE = "pytorch_lora_weights.safetensors"
"""What diffusers calls a LoRA in a folder."""
NAMED = (ADAPTER_CONFIG, "model_index.json", "config.json", LORA_FILE)
"""Files by which the form of a folder is told."""


def change_of(path: Path, model: TargetModel, *, partial: bool) -> ReplaceWeights | AddLowRank:
    """What the checkpoint at `path` changes in `model`.

    Raises:
        DoribError: it is of no form that is read, is broken or not complete, does not fit the
            model, or changes nothing.
    """
    what = f"checkpoint {path}"
    if path.is_dir():
        folder = ModelFolder(path, path, what)
        parts = {} if any(_holds(path, name) for name in NAMED) else _parts(folder)
        if not parts:
            _refuse_partial(what, partial=partial)
            return _of_folder(folder, model)
        return replaced({n: f.read() for n, f in parts.items()}, model, what, partial=partial)
    file = TensorFile.open(path, what)
    if not file.names:
        raise DoribError(f"{what}: holds no tensor; restore the file")
    if is_original_form(file) or is_lora(file.names):
        _refuse_partial(what, partial=partial)
        if is_original_form(file):
            return replaced(load_single_file_weights(path, model), model, what)
        return low_rank_change(file, model)
    return replaced(by_component(file.read(), model, what), model, what, partial=partial)


def _refuse_partial(what: str, *, partial: bool) -> None:
    if partial:
        raise DoribError(
            f"{what}: partial=true is for weights by diffusers' names alone, which this is not; "
            "leave it out"
        )


def _parts(folder: ModelFolder) -> dict[str, TensorFile]:
    """Weights that lie in a file for each component, without a configuration."""
    names = {component: f"{component}.safetensors" for component in COMPONENTS}
    return {
        component: TensorFile.open(folder.file(name), folder.what)
        for component, name in names.items()
        if _holds(folder.path, name)
    }


def _of_folder(folder: ModelFolder, model: TargetModel) -> ReplaceWeights | AddLowRank:
    path, what = folder.path, folder.what
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
        f"encoder), {ADAPTER_CONFIG} (PEFT), {LORA_FILE} and unet.safetensors; name the folder or "
        "the file itself"
    )


def _holds(folder: Path, name: str) -> bool:
    return (folder / name).exists() or (folder / name).is_symlink()
