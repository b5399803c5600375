"""A transformers CLIP from a folder or the hub, for the metrics that judge by one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from dorib.contracts.suite_view import SuiteView
from dorib.errors import DoribError
from dorib.printable import one_line
from dorib.weights.folders import ModelFolder, refuse_code
from dorib.weights.tensors import require_complete, require_finite

NOT_LOADED = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)
"""What transformers raises for missing, truncated or foreign files."""


def model_name(model: Path | str | None) -> str:
    """What a stack calls the CLIP: a folder by its name, a hub id, or "suite" for its own."""
    if model is None:
        return "suite"
    return model.name if isinstance(model, Path) else model


def clip_source(model: Path | str | None, suite: SuiteView, metric: str) -> str:
    """Folder or hub id of the CLIP: `model`, the one that was named, or the suite's own.

    Raises:
        DoribError: there is neither.
    """
    if model is not None:
        return str(model)
    if suite.clip is None:
        raise DoribError(
            f"metric {metric}: suite {suite.name} has no CLIP; name one as {metric}:model=FOLDER "
            "or a hub id, or add one to its suite.yaml"
        )
    return suite.component(suite.clip)


@contextmanager
def clip_files(source: str, metric: str) -> Iterator[None]:
    """Reading a CLIP's files: what transformers raises becomes one line.

    Raises:
        DoribError: a file is missing, truncated, not safetensors or not a CLIP's.
    """
    try:
        yield
    except NOT_LOADED as error:
        raise DoribError(
            f"metric {metric}: {source} cannot be loaded ({one_line(error)}); it needs a folder "
            "with a CLIPModel's config, safetensors, tokenizer and preprocessor_config.json, or a "
            "hub id and a connection"
        ) from error


def load_clip(source: str, device: torch.device, metric: str) -> Any:
    """The `CLIPModel` in float32, without gradients; `metric` is named in the messages.

    Raises:
        DoribError: files are missing, truncated, not safetensors or not a CLIP's.
    """
    from transformers import AutoConfig, CLIPConfig, CLIPModel

    what, variant = f"metric {metric}: {source}", None
    if Path(source).is_dir():
        folder = ModelFolder(Path(source), Path(source), what)
        folder.check("config.json", "preprocessor_config.json", "tokenizer_config.json")
        variant = folder.weights("model").variant
    with clip_files(source, metric), _quiet():
        refuse_code(CLIPConfig.get_config_dict(source)[0], f"{what}: config.json")
        # CLIPModel by itself would make up a configuration where config.json is missing.
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        if not isinstance(config, CLIPConfig):
            raise ValueError(f"it is of type {config.model_type}")
        model, report = CLIPModel.from_pretrained(
            source,
            config=config,
            use_safetensors=True,
            variant=variant,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    # transformers fills what does not fit with random numbers, which would judge all the same.
    absent = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
    if absent:
        raise DoribError(
            f"metric {metric}: {source} lacks {len(absent)} of the weights that its config.json "
            f"asks for, {absent[0]} among them; restore the files or name another model"
        )
    require_complete((), report["unexpected_keys"], (), what)
    require_finite(model.state_dict(), what)
    return model.float().to(device).eval().requires_grad_(False)


def clip_sha256(model: Any, prefixes: tuple[str, ...] = ("",)) -> str:
    """sha256 over names, shapes and values of the parameters so named, in float32, by name.

    Not a file's hash: a hub model may come in several files, or in half precision.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if name.startswith(prefixes):
            digest.update(f"{name} {list(value.shape)}\n".encode())
            digest.update(value.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars and load reports: what matters of them is raised."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
