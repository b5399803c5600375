"""What attacks draw of photographs that a model has never seen: the judge's hardest negatives.

Dori and evolution run as they are benchmarked, on the scene model and on damaged copies of it, for
a pool of photographs that no training of a U-Net ever uses. What they draw has the layout, the
palette and the masses of the photograph and none of its detail; a descriptor that was taught on
other photographs alone takes it for a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from dorib import Attack, Ledger, Seeds, Target, TargetModel, stacked
from dorib.contracts.suite_view import SamplingSettings
from dorib.reporting import Reporter
from dorib.target.model import DiffusersModel
from dorib_dori import DoriParams
from dorib_dori.attack import Dori
from dorib_evolution import EvolutionParams
from dorib_evolution.attack import Evolution
from dorib_suites.tiny import unet as unets
from dorib_suites.tiny.damage import damaged
from dorib_suites.tiny.data import as_float
from dorib_suites.tiny.scenes import SIZE

SAMPLING = SamplingSettings(height=SIZE, width=SIZE, steps=15, guidance_scale=2.0)
SEEDS_EACH = 3
"""Images drawn from each embedding that was found."""
BATCH = 16
OTHER_CAPTIONS = 128


@dataclass(frozen=True)
class Job:
    """One attack on one model, looked at after several budgets."""

    name: str
    attack: Attack[DoriParams] | Attack[EvolutionParams]
    budgets: tuple[int, ...]
    damage: float = 0.0
    """Share of the largest feed-forward weights that are zeroed in half of the layers."""


JOBS = (
    Job("dori", Dori(DoriParams.model_validate({})), (240, 600, 1200)),
    Job(
        "damaged-dori", Dori(DoriParams.model_validate({"start": "other"})), (240, 600), damage=0.15
    ),
    Job("evolution", Evolution(EvolutionParams.model_validate({})), (480,)),
)


@dataclass(frozen=True)
class Drawings:
    """Latents that were drawn, and the photograph that each was searched for."""

    latents: Tensor
    """`[N, channels, 16, 16]`, float16, scaled to unit variance."""
    photograph: Tensor
    """`[N]`, int64: position among the photographs that were handed in."""


def draw_unseen(
    name: str,
    job: Job,
    unet: UNet2DConditionModel,
    parts: tuple[AutoencoderTiny, CLIPTextModel, CLIPTokenizer],
    pictures: Tensor,
    captions: Sequence[str],
    general: Sequence[str],
    folder: Path,
    reporter: Reporter,
) -> Drawings:
    """Run one job for all `pictures` (uint8 `[N, 3, 64, 64]`); read from `folder` if it is done.

    `general` are captions of other images: starts and directions of the searches.
    """
    path = folder / "drawings" / f"{name}-{job.name}.safetensors"
    if path.exists():
        return Drawings(**load_file(path))
    model = _target(_damaged(unet, job.damage), parts)
    others = tuple(general[:OTHER_CAPTIONS])
    targets = [
        Target(str(n), n, caption, as_float(picture), others)
        for n, (picture, caption) in enumerate(zip(pictures, captions, strict=True))
    ]
    seeds = Seeds(0).child("drawings", name, job.name)
    latents, photograph = [], []
    with reporter.verb("attack", f"{name} {job.name}", len(targets)) as advance:
        for start in range(0, len(targets), BATCH):
            batch = targets[start : start + BATCH]
            found = job.attack.search(model, batch, job.budgets, seeds.child("search"), Ledger())
            for trigger in found:
                rows = stacked([trigger.embeddings] * SEEDS_EACH)
                generators = [
                    seeds.generator("noise", trigger.sample, trigger.budget, image)
                    for image in range(SEEDS_EACH)
                ]
                index = torch.full((SEEDS_EACH,), int(trigger.sample))
                latents.append(model.sample_latents(rows, generators, index).half())
                photograph += [int(trigger.sample)] * SEEDS_EACH
            advance(len(batch))
    drawn = {"latents": torch.cat(latents), "photograph": torch.tensor(photograph)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(drawn, path)
    return Drawings(**drawn)


@torch.no_grad()
def decoded(drawings: Drawings, vae: AutoencoderTiny) -> Tensor:
    """The drawings as images `[N, 3, 64, 64]`, uint8."""
    pieces = []
    for latents in torch.split(drawings.latents.float() / vae.config.scaling_factor, 64):
        images = vae.decode(latents.to(vae.device)).sample.cpu() / 2 + 0.5
        pieces.append((images.clamp(0, 1) * 255).round().to(torch.uint8))
    return torch.cat(pieces)


def _damaged(unet: UNet2DConditionModel, share: float) -> UNet2DConditionModel:
    if share == 0:
        return unet
    return damaged(unet, share, torch.Generator("cpu").manual_seed(15))


def _target(
    unet: UNet2DConditionModel, parts: tuple[AutoencoderTiny, CLIPTextModel, CLIPTokenizer]
) -> TargetModel:
    vae, text_encoder, tokenizer = parts
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=unets.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return DiffusersModel(pipeline, SAMPLING)
