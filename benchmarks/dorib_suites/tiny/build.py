"""Writing the suite folder: pipeline, oracle, both judges, CLIP, tables and originals."""

from __future__ import annotations

import copy
import shutil
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from transformers import CLIPImageProcessor

from dorib_suites.tiny import unet as unets
from dorib_suites.tiny.attribution import write_attribution
from dorib_suites.tiny.calibration import between_all
from dorib_suites.tiny.clip import MEAN, STD
from dorib_suites.tiny.copies import likenesses
from dorib_suites.tiny.data import as_float, captioned_scenes, photographs, redrawn_scenes
from dorib_suites.tiny.judges import Judges, ShippedJudge
from dorib_suites.tiny.photographs import CATALOGUE, FIFTH
from dorib_suites.tiny.prompts import write_lines, write_prompts
from dorib_suites.tiny.samples import SuiteSample, suite_samples
from dorib_suites.tiny.scenes import SIZE
from dorib_suites.tiny.views import all_similarities, describe, describe_views

if TYPE_CHECKING:
    from dorib_suites.tiny.components import Components

# Beside the prompt itself: gradients from three starts, old triggers, and no gradients at all, so
# that a mitigation that only breaks gradients is not taken for erasure.
REQUIRED_ATTACKS = [
    "none",
    "dori",
    "dori:start=other",
    "dori:start=random",
    "transfer",
    "evolution",
]


def write_suite(
    folder: Path,
    parts: Components,
    memorizing: UNet2DConditionModel,
    oracle: UNet2DConditionModel | None,
    judges: Judges,
) -> None:
    """Write everything that ships; weights as float16 safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    pipeline = StableDiffusionPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=memorizing,
        scheduler=unets.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline = copy.deepcopy(pipeline).to(torch.float16)
    pipeline.save_pretrained(folder / "pipeline", safe_serialization=True)
    if oracle is not None:
        copy.deepcopy(oracle).half().save_pretrained(folder / "oracle", safe_serialization=True)
    descriptors = judges.write(folder)
    _write_clip(folder / "clip", parts)
    _write_samples(folder, suite_samples(FIFTH))
    write_attribution(folder)
    write_prompts(folder)
    text = yaml.safe_dump(
        _manifest(descriptors, has_oracle=oracle is not None), sort_keys=False, allow_unicode=False
    )
    (folder / "suite.yaml").write_text(text)


@torch.no_grad()
def hard_pairs(judge: ShippedJudge, samples: list[SuiteSample]) -> dict[str, Tensor]:
    """Cosines of pairs that are not copies, though they look alike, `[pairs]` for each kind.

    Two drawings of one caption, and a photograph with likenesses of it. The threshold is not
    calibrated on them: some pairs, as of a disc on a plain ground, are indeed one picture cropped.
    """
    once, again = (draw(400, seed=8).pixels for draw in (captioned_scenes, redrawn_scenes))
    stills = np.concatenate([s.originals for s in samples if s.kind != "template"])
    photographs = as_float(torch.from_numpy(stills)).repeat(4, 1, 1, 1)
    likeness = likenesses(photographs, torch.Generator("cpu").manual_seed(8))
    return {
        "drawings of one caption": judge.pairwise(as_float(once), as_float(again)),
        "likenesses": judge.pairwise(photographs, likeness),
    }


@torch.no_grad()
def different_pairs(
    judge: ShippedJudge, samples: list[SuiteSample], catalogue: Path = CATALOGUE
) -> dict[str, Tensor]:
    """Cosines of all pairs of different images, `[pairs]` for each kind of picture.

    Photographs of all roles against each other, templates of different layouts, and scenes among
    each other, drawn as they come, so that some pairs are nearly alike. Each picture is the
    original of a pair once, since originals are seen in views.
    """
    stills = np.concatenate([s.originals for s in samples if s.kind != "template"])
    background = [_read(photograph.files[0]) for photograph in photographs("background", catalogue)]
    pictures = torch.from_numpy(np.concatenate([stills, np.stack(background)]))
    network, views = judge.network, judge.network.config.views
    templates = [torch.from_numpy(s.originals) for s in samples if s.kind == "template"]
    layouts = [(describe_views(network, t, views), describe(network, t)) for t in templates]
    return {
        "photographs": between_all(network, pictures, views),
        "templates": torch.cat(
            [
                all_similarities(original, shown).flatten()
                for (original, _), (_, shown) in permutations(layouts, 2)
            ]
        ),
        "scenes": between_all(network, captioned_scenes(400, seed=8).pixels, views),
    }


def _manifest(descriptors: dict[str, Any], *, has_oracle: bool) -> dict[str, Any]:
    return {
        "name": "tiny",
        "version": "5.2",
        "title": "A small diffusion model that memorized real photographs",
        "licence": "Weights and scenes: MIT. Photographs: each its own, see samples.jsonl. "
        "Network of the second descriptor: Apache-2.0, see its folder.",
        "pipeline": "pipeline",
        "oracle": "oracle" if has_oracle else None,
        **descriptors,
        "clip": "clip",
        "samples": "samples.jsonl",
        "utility": "utility.jsonl",
        "general": "general.jsonl",
        "sampling": {"height": SIZE, "width": SIZE, "steps": 15, "guidance_scale": 2.0},
        "quick": {"memorized": 8, "controls": 4, "seeds": 2, "budgets": [120, 480], "utility": 16},
        "full": {"seeds": 4, "budgets": [120, 240, 600, 1200, 2400], "utility": 64},
        "batch_size": 16,
        "required_attacks": REQUIRED_ATTACKS,
    }


def _write_clip(folder: Path, parts: Components) -> None:
    copy.deepcopy(parts.clip).half().save_pretrained(folder)
    parts.tokenizer.save_pretrained(folder)
    CLIPImageProcessor(
        size={"height": SIZE, "width": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        image_mean=[MEAN] * 3,
        image_std=[STD] * 3,
    ).save_pretrained(folder)


def _write_samples(folder: Path, samples: list[SuiteSample]) -> None:
    images = folder / "images"
    shutil.rmtree(images, ignore_errors=True)
    images.mkdir()
    rows = []
    for sample in samples:
        names = [f"images/{sample.id}.png"]
        if len(sample.originals) > 1:
            names = [f"images/{sample.id}-{n}.png" for n in range(len(sample.originals))]
        for name, original in zip(names, sample.originals, strict=True):
            Image.fromarray(original.transpose(1, 2, 0)).save(folder / name)
        rows.append(
            {
                "id": sample.id,
                "caption": sample.caption,
                "images": names,
                "role": sample.role,
                "kind": sample.kind,
                "split": sample.split,
                "duplication": sample.duplication,
                "cluster": sample.id,
                "licence": sample.licence,
                "source": sample.source,
            }
        )
    write_lines(folder / "samples.jsonl", rows)


def _read(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(path) as picture:
        small = picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(small, dtype=np.uint8).transpose(2, 0, 1))
