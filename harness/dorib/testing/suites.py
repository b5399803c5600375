"""Whole suite folders on random pipelines in miniature, so that a run on one takes seconds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from PIL import Image
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig

from dorib.testing import sdxl
from dorib.testing.pipelines import Prediction, save_pipeline, text_config, tokenizer

SIDE = 32
MEMORIZED = 3

Pipeline = Literal["stable diffusion", "sdxl"]


def save_random_suite(
    folder: Path,
    pipeline: Pipeline = "stable diffusion",
    prediction: Prediction = "v_prediction",
    guidance_scale: float = 3.0,
    controls: int = 1,
) -> Path:
    """Write a suite of three memorized samples and controls; it has a CLIP and no descriptor."""
    width = SIDE
    if pipeline == "sdxl":
        sdxl.pipeline(prediction).save_pretrained(folder / "pipeline", safe_serialization=True)
        # Not square: what is made for squares shows.
        width = SIDE + 16
    else:
        save_pipeline(folder / "pipeline", prediction=prediction)
    save_clip(folder / "clip")
    (folder / "images").mkdir()
    _write_rows(folder / "samples.jsonl", _samples(folder, width, controls))
    _write_rows(folder / "utility.jsonl", _captions("use", 4))
    _write_rows(folder / "general.jsonl", _captions("view", 6))
    profile = {"memorized": None, "controls": None, "seeds": 1, "budgets": [96], "utility": 2}
    manifest = {
        "name": "random-sdxl" if pipeline == "sdxl" else "random",
        "version": "1",
        "pipeline": "pipeline",
        "clip": "clip",
        "sampling": {
            "height": SIDE,
            "width": width,
            "steps": 3,
            "guidance_scale": guidance_scale,
        },
        "quick": profile,
        "full": profile,
        "batch_size": 4,
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
    return folder


def _samples(folder: Path, width: int, controls: int) -> Iterable[Mapping[str, Any]]:
    for number in range(MEMORIZED + controls):
        role = "memorized" if number < MEMORIZED else "control"
        name = f"{role}-{number}"
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        yield {
            "id": name,
            "caption": f"{role} {number}",
            "images": [f"images/{name}.png"],
            "role": role,
            "split": "test",
            "cluster": name,
        }


def _captions(subject: str, count: int) -> list[Mapping[str, Any]]:
    return [{"caption": f"{subject} {number}"} for number in range(count)]


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def save_clip(folder: Path) -> Path:
    """A `CLIPModel` with its tokenizer and the settings of its image processor."""
    words = tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=16,
        projection_dim=16,
    )
    config = CLIPConfig(
        text_config=text_config(words).to_dict(),
        vision_config=vision.to_dict(),
        projection_dim=16,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(60)
        CLIPModel(config).save_pretrained(folder, safe_serialization=True)
    words.save_pretrained(folder)
    preprocessing = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": SIDE},
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_resize": True,
        "do_center_crop": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_convert_rgb": True,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing, indent=2) + "\n")
    return folder
