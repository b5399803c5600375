"""`python -m dorib_suites.tiny.judge_figures --work DIR`: what both judges take for copies.

Each is calibrated on the half of the pool that no training used, and then looked at on the suite's
own samples, which neither has seen. Drawings that are not in the folder are made first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from dorib.cli.progress import reporter_for
from dorib.reporting import Reporter
from dorib_sscd.network import DescriptorNetwork
from dorib_suites.tiny import decoder
from dorib_suites.tiny import unet as unets
from dorib_suites.tiny.calibration import (
    between_all,
    calibrate,
    copy_similarities,
    lookalike_similarities,
)
from dorib_suites.tiny.components import Components, train_components
from dorib_suites.tiny.data import as_float, fixed_crops, photographs
from dorib_suites.tiny.judge import Pool
from dorib_suites.tiny.judges import NOT_FOR_THE_SECOND
from dorib_suites.tiny.photographs import FIFTH
from dorib_suites.tiny.refine import drawn_pools
from dorib_suites.tiny.reuse import unpack_components
from dorib_suites.tiny.second_descriptor import second_judge
from dorib_suites.tiny.train import SHIPPED
from dorib_suites.tiny.views import Judge, describe_views, similarity

NOISE_LEVELS = (0.0, 0.2, 0.4)


def figures(
    judge: Judge, pool: Pool, vae: AutoencoderTiny, left_out: Sequence[str]
) -> dict[str, Any]:
    """The calibration, and shares called copies among the fifth suite's samples."""
    calibration = calibrate(judge, pool, left_out)
    threshold = calibration["threshold"]

    def shares(similarities: dict[str, Tensor]) -> dict[str, float]:
        return {
            kind: round((values >= threshold).float().mean().item(), 4)
            for kind, values in similarities.items()
        }

    samples = [*photographs("memorized", FIFTH), *photographs("control", FIFTH)]
    pixels = torch.cat([fixed_crops(role, FIFTH).pixels for role in ("memorized", "control")])
    different = {}
    for ground in ("white", "whole"):
        rows = torch.tensor([n for n, p in enumerate(samples) if p.ground == ground])
        different[ground] = between_all(judge, pixels[rows])
    return {
        "calibration": calibration,
        "samples": len(samples),
        "different samples": shares(different),
        "lookalikes of samples": shares(lookalike_similarities(judge, pixels)),
        "copies of samples": shares(copy_similarities(judge, pixels)),
        "reconstructions of samples": shares(_restored(judge, vae, pixels)),
    }


@torch.no_grad()
def _restored(judge: Judge, vae: AutoencoderTiny, pixels: Tensor) -> dict[str, Tensor]:
    images = as_float(pixels)
    latents = vae.encode(images * 2 - 1).latents
    seen = describe_views(judge, pixels)
    found = {}
    for level in NOISE_LEVELS:
        noise = torch.randn(latents.shape, generator=torch.Generator("cpu").manual_seed(3))
        restored = vae.decode(latents + level * noise / vae.config.scaling_factor).sample
        shown = judge((restored / 2 + 0.5).clamp(0, 1))
        found[f"noise {level:g}"] = similarity(seen, shown)
    return found


def kept_parts(work: Path, reporter: Reporter) -> tuple[Components, DescriptorNetwork]:
    """Components with the kept decoder, and the kept judge."""
    unpack_components(SHIPPED, work)
    parts = train_components(work, torch.device("cpu"), reporter)
    parts.vae = decoder.grown(parts.vae)
    parts.vae.load_state_dict(load_file(work / "decoder.safetensors"))
    parts.vae.eval().requires_grad_(False)
    judge = DescriptorNetwork()
    judge.load_state_dict(load_file(work / "judge.safetensors"))
    return parts, judge.eval().requires_grad_(False)


def main() -> None:
    """Print the figures of both judges."""
    parser = argparse.ArgumentParser(description="What both judges take for copies.")
    parser.add_argument("--work", type=Path, required=True, help="checkpoints and drawings")
    work = parser.parse_args().work
    with reporter_for(Console(stderr=True, highlight=False)) as reporter:
        parts, judge = kept_parts(work, reporter)
        scene_model = unets.build()
        scene_model.load_state_dict(load_file(work / "scene-unet.safetensors"))
        pool = drawn_pools(parts, scene_model, work, reporter)["calibration"]
    found = {
        "first": figures(judge, pool, parts.vae, ()),
        "second": figures(second_judge(), pool, parts.vae, NOT_FOR_THE_SECOND),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
