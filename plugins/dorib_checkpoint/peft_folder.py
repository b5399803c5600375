"""PEFT's folders: `adapter_config.json` and `adapter_model.safetensors`."""

from __future__ import annotations

from dorib import AddLowRank, DoribError, ModelFolder, TargetModel, TensorFile
from dorib_checkpoint.lora import low_rank
from dorib_checkpoint.scales import LoraConfig

ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"


def adapter_change(folder: ModelFolder, model: TargetModel) -> AddLowRank:
    """What a LoRA in PEFT's form adds, its scale folded into `up`.

    Raises:
        DoribError: a file is missing, cannot be read or leads elsewhere, the adapter is of another
            kind, does not fit the model, or is not finite.
    """
    content = folder.configuration(ADAPTER_CONFIG)
    kind = content.get("peft_type")
    if kind != "LORA":
        raise DoribError(
            f"{folder.what}: peft_type is {str(kind)[:40]!r}, and LORA alone is read; fuse the "
            "adapter into the weights and give those"
        )
    configuration = LoraConfig(f"{folder.what}: {ADAPTER_CONFIG}", content)
    file = TensorFile.open(folder.file(_WEIGHTS), folder.what)
    tensors = file.read()
    if not tensors:
        raise DoribError(f"{folder.what}: {_WEIGHTS} holds no tensor; restore the file")
    return low_rank(tensors, model, folder.what, {None: configuration})
