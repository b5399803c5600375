"""A suite folder around a random pipeline, with one memorized sample and nothing to learn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import yaml

from dorib.suites.images import write_image
from dorib_sscd.network import DescriptorConfig, DescriptorNetwork
from full_size.architectures import Architecture, random_pipeline

DESCRIPTOR = DescriptorConfig(input_size=64, widths=(8, 16), dimensions=16)
SAMPLING_STEPS = 2
GUIDANCE_SCALE = 7.5
GENERAL_CAPTIONS = 8


def save_suite(folder: Path, architecture: Architecture) -> Path:
    """Write it, or leave what a run before has written; the manifest is written last."""
    manifest = folder / "suite.yaml"
    if manifest.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    random_pipeline(architecture).save_pretrained(folder / "pipeline", safe_serialization=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        DescriptorNetwork(DESCRIPTOR).save_pretrained(folder / "descriptor")
    generator = torch.Generator().manual_seed(0)
    write_image(torch.rand(3, 64, 64, generator=generator), folder / "original.png")
    sample = {
        "id": "one",
        "caption": "an image that everybody knows",
        "images": ["original.png"],
        "role": "memorized",
        "split": "test",
        "cluster": "one",
    }
    _write_rows(folder / "samples.jsonl", [sample])
    _write_rows(folder / "utility.jsonl", [{"caption": "a boat"}, {"caption": "a barn"}])
    general = [{"caption": f"another picture, number {n}"} for n in range(GENERAL_CAPTIONS)]
    _write_rows(folder / "general.jsonl", general)
    profile = {"memorized": 1, "controls": 0, "seeds": 1, "budgets": [3], "utility": 1}
    content = {
        "name": "full-size",
        "version": "1",
        "pipeline": "pipeline",
        "sampling": {
            "height": architecture.side,
            "width": architecture.side,
            "steps": SAMPLING_STEPS,
            "guidance_scale": GUIDANCE_SCALE,
        },
        "descriptor": {"path": "descriptor", "threshold": 0.5, "false_positive_rate": 0.001},
        "quick": profile,
        "full": profile,
        "batch_size": 1,
    }
    manifest.write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def _write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
