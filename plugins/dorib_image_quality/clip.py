"""A CLIP's image side: what CLIP-FID compares.

Source: Kynkäänniemi et al., arXiv 2203.06026. As in clean-fid, the features are the projected
embeddings, not scaled to unit length, of images that went through the model's own preprocessing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dorib import clip_files, load_clip

METRIC = "image-quality"
IMAGE_SIDE = ("vision_model.", "visual_projection.")
"""How the parameters that the features depend on are named."""


def load(source: str, device: torch.device) -> tuple[Any, Any]:
    """The model in float32, and its image processor.

    Raises:
        DoribError: files are missing, truncated, not safetensors or not a CLIP's.
    """
    from transformers import CLIPImageProcessorPil

    model = load_clip(source, device, METRIC)
    with clip_files(source, METRIC):
        return model, CLIPImageProcessorPil.from_pretrained(source)


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


def preprocessing(processor: Any) -> str:
    """Resize, crop and normalisation, as the processor's settings have them."""
    names = ("do_resize", "size", "resample", "do_center_crop", "crop_size", "image_mean")
    settings = json.loads(processor.to_json_string())
    return json.dumps({name: settings.get(name) for name in (*names, "image_std")})
