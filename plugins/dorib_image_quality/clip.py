"""A CLIP's image side: what CLIP-FID compares.

Source: Kynkäänniemi et al., arXiv 2203.06026. As in clean-fid, the features are the projected
embeddings, not scaled to unit length, of images that went through the model's own preprocessing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from dorib import DoribError, Suite

NOT_LOADED = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)
"""What transformers raises for missing, truncated or foreign files."""


def source(model: str | None, suite: Suite) -> str:
    """Folder or hub id of the CLIP: the one named, or the suite's own.

    Raises:
        DoribError: there is neither.
    """
    if model is not None:
        return model
    if suite.manifest.clip is None:
        raise DoribError(
            f"metric image-quality: suite {suite.name} has no CLIP; name one as "
            "image-quality:model=FOLDER or a hub id, or add one to its suite.yaml"
        )
    return suite.component(suite.manifest.clip)


def load(source: str, device: torch.device) -> tuple[Any, Any]:
    """The model in float32, and its image processor.

    Raises:
        DoribError: files are missing, truncated, not safetensors or not a CLIP's.
    """
    from transformers import AutoConfig, CLIPConfig, CLIPImageProcessorPil, CLIPModel

    try:
        # CLIPModel by itself would make up a configuration where config.json is missing.
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        if not isinstance(config, CLIPConfig):
            raise ValueError(f"it is of type {config.model_type}")
        with _quiet():
            model, report = CLIPModel.from_pretrained(
                source,
                config=config,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        processor = CLIPImageProcessorPil.from_pretrained(source)
    except NOT_LOADED as error:
        reason = " ".join(str(error).split())[:200]
        raise DoribError(
            f"metric image-quality: {source} cannot be loaded ({reason}); it needs a folder with a "
            "CLIPModel's config, safetensors and preprocessor_config.json, or a hub id and a "
            "connection"
        ) from error
    # transformers fills what does not fit with random numbers, which would judge all the same.
    absent = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
    if absent:
        raise DoribError(
            f"metric image-quality: {source} lacks {len(absent)} of the weights that its "
            f"config.json asks for, {absent[0]} among them; restore the files or name another model"
        )
    return model.float().to(device).eval().requires_grad_(False), processor


def embedder(model: Any, processor: Any) -> Callable[[Sequence[Tensor]], Tensor]:
    """Embeds RGB images `[3, H, W]`, float32 in [0, 1], as `[B, D]`."""

    @torch.no_grad()
    def embed(images: Sequence[Tensor]) -> Tensor:
        arrays = [(image * 255).round().byte().permute(1, 2, 0).numpy() for image in images]
        pixels = processor(arrays, return_tensors="pt", input_data_format="channels_last")
        pooled = model.vision_model(pixel_values=pixels.pixel_values.to(model.device)).pooler_output
        projected: Tensor = model.visual_projection(pooled)
        return projected

    return embed


def weights_sha256(model: Any) -> str:
    """sha256 over names, shapes and values of the image side's parameters, in float32, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if name.startswith(("vision_model.", "visual_projection.")):
            digest.update(f"{name} {list(value.shape)}\n".encode())
            digest.update(value.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def preprocessing(processor: Any) -> str:
    """Resize, crop and normalisation, as the processor's settings have them."""
    names = ("do_resize", "size", "resample", "do_center_crop", "crop_size", "image_mean")
    settings = json.loads(processor.to_json_string())
    return json.dumps({name: settings.get(name) for name in (*names, "image_std")})


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
