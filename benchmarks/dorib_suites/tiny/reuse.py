"""Going on from what was kept: `train --reuse` retrains the forks of the scene model alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPModel

from dorib_sscd.network import DescriptorNetwork

STAGES = Path(__file__).parent / "stages"
"""Trainings that no suite holds yet."""
KEPT = (
    "scene-unet",
    "scene-unet-grown",
    "decoder",
    "judge",
    "memorizing-unet-deepen",
    "oracle-unet-deepen",
)


def unpack_components(suite: Path, folder: Path) -> None:
    """Put a suite's tokenizer, autoencoder, CLIP, descriptor and `stages` into `folder`.

    They count as finished. The weights were rounded to float16 when they were kept. What is in
    `folder` already stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tokenizer").exists():
        shutil.copytree(suite / "pipeline" / "tokenizer", folder / "tokenizer")
    vae = suite / "pipeline" / "vae"
    parts: dict[str, nn.Module] = {
        "autoencoder": AutoencoderTiny.from_pretrained(vae, dtype=torch.float32),
        "clip": CLIPModel.from_pretrained(suite / "clip", dtype=torch.float32),
        "descriptor": DescriptorNetwork.from_pretrained(suite / "descriptor"),
    }
    states = {name: module.state_dict() for name, module in parts.items()}
    states["clip-vision"] = states["clip"]
    kept = {name: STAGES / f"{name}.safetensors" for name in KEPT}
    states |= {name: load_file(path) for name, path in kept.items() if path.exists()}
    for name, state in states.items():
        finished = folder / f"{name}.safetensors"
        if not finished.exists():
            save_file({key: value.float().contiguous() for key, value in state.items()}, finished)
