"""The components of a pipeline: which there may be, of which classes, each loaded whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dorib.errors import DoribError
from dorib.target.quiet import loading
from dorib.weights.folders import ModelFolder, own_file, read_json, refuse_code
from dorib.weights.tensors import require_complete, require_finite

INDEX = "model_index.json"
NOT_NEEDED = ("safety_checker", "feature_extractor", "image_encoder")
"""What pipelines may name beside: a checker would blank images after the fact."""

_LIBRARIES = ("diffusers", "transformers")
_MODULES = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
"""Components with weights, and how the files of their weights begin."""
AUTOENCODER = "vae"
"""In float32 whatever the others are in: bfloat16 tells no more values apart than a picture has."""
_OTHERS = {
    "tokenizer": ("tokenizer_config.json",),
    "tokenizer_2": ("tokenizer_config.json",),
    "scheduler": ("scheduler_config.json",),
}
"""Components without, and their configurations."""


@dataclass(frozen=True)
class PipelineFolder:
    """A diffusers folder: an index of its components, and a folder for each."""

    path: Path
    source: str
    """How the user knows it."""

    @property
    def what(self) -> str:
        """How messages call it."""
        return f"pipeline {self.source}"

    def check(self, *, with_weights: bool = True) -> None:
        """See that nothing in it leads elsewhere or names code, without loading anything.

        Raises:
            DoribError: something does, or a file is missing or cannot be read.
        """
        for name in self.classes():
            folder = self.component(name)
            if name in _OTHERS:
                folder.check(*_OTHERS[name])
                for file in sorted(folder.path.iterdir()) if folder.path.is_dir() else ():
                    folder.file(file.name)
                continue
            folder.check("generation_config.json")
            folder.configuration()
            if with_weights:
                folder.weights(_MODULES[name])

    def component(self, name: str) -> ModelFolder:
        """The folder of one component."""
        return ModelFolder(self.path / name, self.path, f"{self.what}: {name}")

    def classes(self) -> dict[str, tuple[str, str]]:
        """Library and class of each component that is used, from the index.

        Raises:
            DoribError: the index is missing or names something that no pipeline of this kind has,
                or a class from elsewhere.
        """
        index = read_json(own_file(self.path / INDEX, self.path, self.what), self.what)
        refuse_code(index, f"{self.what}: {INDEX}")
        if not isinstance(index.get("_class_name"), str):
            raise DoribError(
                f"{self.what}: {INDEX} asks for custom code, or names no class; a pipeline is one "
                "of diffusers' own"
            )
        found = {}
        for name, value in index.items():
            if name.startswith("_") or name in NOT_NEEDED or not isinstance(value, list):
                continue
            if value == [None, None]:
                continue
            if name not in (*_MODULES, *_OTHERS):
                raise DoribError(
                    f"{self.what}: {INDEX} names a component {name[:80]!r}, which no text-to-image "
                    "pipeline in the manner of Stable Diffusion 1.x, 2.x or XL has"
                )
            if len(value) != 2 or value[0] not in _LIBRARIES or not isinstance(value[1], str):
                raise DoribError(
                    f"{self.what}: {INDEX} asks for custom code ({name}: {str(value)[:80]}); a "
                    f"component is a class of {' or '.join(_LIBRARIES)}"
                )
            found[name] = (value[0], value[1])
        return found

    def load(self, name: str, dtype: torch.dtype) -> Any:
        """One component: a module whole and finite, in `dtype`, or a tokenizer, or a scheduler.

        The autoencoder is in float32 whatever `dtype`.

        Raises:
            DoribError: its class is of another kind, its files are missing or cannot be read, or
                a module is not complete and finite.
        """
        kind = self.class_of(name)
        folder = self.component(name)
        if name in _MODULES:
            own = torch.float32 if name == AUTOENCODER else dtype
            return load_module(kind, folder, _MODULES[name], own)
        with loading(folder.what):
            return kind.from_pretrained(str(folder.path), local_files_only=True)

    def class_of(self, name: str) -> Any:
        """The class of one component, seen to be of its kind.

        Raises:
            DoribError: it is not, or the library has no such class.
        """
        import diffusers
        import transformers

        library, class_name = self.classes()[name]
        home = {"diffusers": diffusers, "transformers": transformers}[library]
        wanted: dict[str, type] = {
            "unet": diffusers.UNet2DConditionModel,
            "vae": diffusers.ModelMixin,
            "scheduler": diffusers.SchedulerMixin,
            "text_encoder": transformers.PreTrainedModel,
            "text_encoder_2": transformers.PreTrainedModel,
            "tokenizer": transformers.PreTrainedTokenizerBase,
            "tokenizer_2": transformers.PreTrainedTokenizerBase,
        }
        with loading(self.what):
            kind: Any = getattr(home, class_name, None)
        if name == "scheduler" and hasattr(kind, "_backends"):
            # What diffusers puts in the place of a class whose packages are not installed.
            lacking = ", ".join(kind._backends)
            raise DoribError(
                f"{self.what}: the scheduler {class_name[:80]} needs {lacking}; install what is "
                "missing of it, or choose another scheduler"
            )
        fits = isinstance(kind, type) and issubclass(kind, wanted[name])
        if name == "vae":
            fits = fits and hasattr(kind, "encode") and hasattr(kind, "decode")
        if not fits:
            raise DoribError(
                f"{self.what}: {INDEX} asks for the {name} {library}.{class_name[:80]}, which is "
                f"none; a {name} is a {wanted[name].__name__}"
            )
        return kind


def load_module(kind: Any, folder: ModelFolder, stem: str, dtype: torch.dtype) -> Any:
    """A module of class `kind` from its folder: complete and finite, in `dtype`, on the CPU.

    Raises:
        DoribError: its files are missing, lead elsewhere or cannot be read, or it is not.
    """
    folder.check("generation_config.json")
    folder.configuration()
    weights = folder.weights(stem)
    refuse_too_many_layers(folder, len(weights.tensors))
    with loading(folder.what):
        module, report = kind.from_pretrained(
            str(folder.path),
            dtype=dtype,
            variant=weights.variant,
            use_safetensors=True,
            local_files_only=True,
            # By the report, which names the tensors.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    require_complete(
        report["missing_keys"],
        report["unexpected_keys"],
        [key if isinstance(key, str) else key[0] for key in report["mismatched_keys"]],
        folder.what,
    )
    require_finite(module.state_dict(), folder.what)
    return module


def refuse_too_many_layers(folder: ModelFolder, tensors: int) -> None:
    """See that no count of layers exceeds the number of `tensors`.

    Some would be missing anyhow, but making a billion layers to see it would take for ever.

    Raises:
        DoribError: one does.
    """
    for key, value in folder.configuration().items():
        counts = value if isinstance(value, list) else [value]
        if ("layers" in key or "blocks" in key) and any(
            isinstance(count, int) and count > tensors for count in counts
        ):
            raise DoribError(
                f"{folder.what}: its config.json asks for more layers ({key}) than its files have "
                "tensors; restore its files"
            )
