"""An edit as weights: a U-Net's folder, a whole pipeline, plain safetensors, a LoRA."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from safetensors.torch import save_file
from torch import Tensor

from dorib.contracts.edits import AddLowRank, Edit
from dorib.errors import DoribError
from dorib.target.editing.installing import UNET
from dorib.target.exchange.adapters import (
    adapters_of,
    lora_metadata,
    peft_configuration,
)
from dorib.target.exchange.folding import (
    as_new_weights,
    components_of,
    replacement,
    row_as_global,
)
from dorib.target.model import DiffusersModel
from dorib.target.quiet import loading

Form = Literal["unet", "lora", "safetensors", "pipeline"]
FORMS: tuple[Form, ...] = ("unet", "lora", "safetensors", "pipeline")

LORA_FILE = "pytorch_lora_weights.safetensors"
PEFT = "peft"
"""The folder beside a LoRA file that holds the same as PEFT's adapters, one a component."""


def form_for(edit: Edit, asked: Form | None, what: str) -> Form:
    """The form to write an edit in: the one that was asked for, or the one that suits it.

    Raises:
        DoribError: it changes nothing, acts while the model samples, or cannot be written so.
    """
    if edit.change is None:
        raise DoribError(f"{what} changes nothing, so there is nothing to export")
    if edit.rules:
        raise DoribError(
            f"{what} acts while the model samples, by the rule {edit.rules[0].name}, and not by "
            "weights; whoever is to use it needs the plugin that brings the rule, and its label"
        )
    if edit.scope == "per_sample":
        if asked in (None, "safetensors"):
            return "safetensors"
        raise DoribError(
            f"{what} is another edit for each sample; --form safetensors writes a folder for each"
        )
    others = components_of(edit) - {UNET}
    if asked == "unet" and others:
        raise DoribError(
            f"{what} changes the {', '.join(sorted(others))}, which a U-Net's folder has no place "
            "for; give --form pipeline or safetensors"
        )
    low_rank = all(isinstance(change, AddLowRank) for change in edit.changes)
    if asked == "lora" and not low_rank:
        kinds = ", ".join(sorted({type(change).__name__ for change in edit.changes}))
        raise DoribError(
            f"{what} is no low-rank change ({kinds}), so it makes no LoRA; leave --form out, or "
            "give --form pipeline"
        )
    return asked or ("lora" if low_rank else "pipeline")


def write_edit(edit: Edit, form: Form, model: DiffusersModel, folder: Path) -> None:
    """Write a global edit of weights, or one row of a per-sample one, into an empty folder.

    Raises:
        DoribError: it does not fit the model, or diffusers cannot write it.
        OSError: the disk is full or not writable.
    """
    if form == "lora":
        _write_lora(edit, model, folder)
        return
    weights = as_new_weights(model, row_as_global(edit))
    if form == "safetensors":
        for component, own in weights.items():
            _save(own, folder / f"{component}.safetensors")
        return
    with model.edited(Edit(replacement(weights))), loading(str(folder), "free some space"):
        written = model.pipeline.unet if form == "unet" else model.pipeline
        written.save_pretrained(folder, safe_serialization=True)
    for path in folder.rglob("*.json"):
        _forget_where_it_lay(path)


def _write_lora(edit: Edit, model: DiffusersModel, folder: Path) -> None:
    adapters = adapters_of(model, edit)
    tensors: dict[str, Tensor] = {}
    for component, adapter in adapters.items():
        tensors |= adapter.tensors(component)
        own = folder / PEFT / component
        own.mkdir(parents=True)
        _save(adapter.tensors("base_model.model"), own / "adapter_model.safetensors")
        content = json.dumps(peft_configuration(adapter), indent=2, sort_keys=True)
        (own / "adapter_config.json").write_text(content + "\n", encoding="utf-8")
    _save(tensors, folder / LORA_FILE, lora_metadata(adapters))


def _save(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    save_file(contiguous, path, dict(metadata or {"format": "pt"}))


def _forget_where_it_lay(path: Path) -> None:
    """Of the configurations: a path of this machine says nothing to others."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
