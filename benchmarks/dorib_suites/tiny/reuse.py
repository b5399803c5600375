"""Going on from what was kept: `train --reuse` trains what neither the suite nor `stages` holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPModel

from dorib_suites.tiny import unet as unets

STAGES = Path(__file__).parent / "stages"
"""Trainings that no suite holds."""
KEPT = (
    "autoencoder",
    "descriptor",
    "scene-unet",
    "scene-unet-grown",
    "decoder",
    "judge",
    "oracle-2-unet-sharpen",
    "oracle-3-unet-sharpen",
)


def unpack_components(suite: Path, folder: Path) -> None:
    """Put a suite's tokenizer, CLIP and forks, and `stages`, into `folder`.

    They count as finished. The weights were rounded to float16 when they were kept. What is in
    `folder` already stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tokenizer").exists():
        shutil.copytree(suite / "pipeline" / "tokenizer", folder / "tokenizer")
    last = list(unets.FORK_CYCLES)[-1]
    parts: dict[str, nn.Module] = {
        "clip": CLIPModel.from_pretrained(suite / "clip", dtype=torch.float32),
        f"memorizing-{last}": UNet2DConditionModel.from_pretrained(suite / "pipeline" / "unet"),
        f"oracle-{last}": UNet2DConditionModel.from_pretrained(suite / "oracle"),
    }
    states = {name: module.state_dict() for name, module in parts.items()}
    states["clip-vision"] = states["clip"]
    kept = {name: STAGES / f"{name}.safetensors" for name in KEPT}
    states |= {name: load_file(path) for name, path in kept.items() if path.exists()}
    for name, state in states.items():
        finished = folder / f"{name}.safetensors"
        if not finished.exists():
            save_file({key: value.float().contiguous() for key, value in state.items()}, finished)
