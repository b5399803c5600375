"""Going on from shipped components: `train --reuse` retrains the U-Nets alone."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPModel

from dorib_sscd.network import DescriptorNetwork


def unpack_components(suite: Path, folder: Path) -> None:
    """Put a suite's decoder, CLIP and descriptor into `folder` as finished trainings.

    They were rounded to float16 when they were shipped. What is in `folder` already is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vae = AutoencoderTiny.from_pretrained(suite / "pipeline" / "vae", dtype=torch.float32)
    parts: dict[str, nn.Module] = {
        "decoder": vae.decoder,
        "clip": CLIPModel.from_pretrained(suite / "clip", dtype=torch.float32),
        "descriptor": DescriptorNetwork.from_pretrained(suite / "descriptor"),
    }
    for name, module in parts.items():
        finished = folder / f"{name}.safetensors"
        if not finished.exists():
            weights = {key: value.contiguous() for key, value in module.state_dict().items()}
            save_file(weights, finished)
