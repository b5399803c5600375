"""What follows the first stages: the scene model, the decoder that does not fall into blocks, the
judge. A scene model is needed for both: they learn from what it makes when it is damaged or
searched.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from dorib.reporting import Reporter
from dorib_suites.tiny import decoder as decoders
from dorib_suites.tiny import judge as judges
from dorib_suites.tiny import unet as unets
from dorib_suites.tiny.components import Components, scene_count
from dorib_suites.tiny.damage import DamagedLatents, damaged_latents
from dorib_suites.tiny.data import (
    Captioned,
    background_crops,
    captioned_scenes,
    photographs,
    pool_crops,
    pool_originals,
    redrawn_scenes,
)
from dorib_suites.tiny.decoder import DAMAGED_COUNT, train_decoder
from dorib_suites.tiny.descriptor import CROPS_OF_ONE
from dorib_suites.tiny.drawings import JOBS, decoded, draw_unseen
from dorib_suites.tiny.growth import grown
from dorib_suites.tiny.judge import SCENES_DRAWN, Pool, train_judge
from dorib_suites.tiny.photographs import FIFTH


def train_scene_models(
    parts: Components, folder: Path, device: torch.device, reporter: Reporter, shorten: int = 1
) -> tuple[UNet2DConditionModel, UNet2DConditionModel]:
    """A scene model, and what it became when it was grown and trained on: the forks' start."""
    scenes = captioned_scenes(scene_count(shorten), keep_in=folder)
    background = background_crops(CROPS_OF_ONE, seed=5, catalogue=FIFTH)
    encoders = (parts.vae, parts.text_encoder, parts.tokenizer)
    few = round(unets.BATCH * unets.PHOTOGRAPH_SHARE)
    sources = [
        (unets.encode(scenes, *encoders), unets.BATCH - few),
        (unets.encode(background, *encoders), few),
    ]
    empty = parts.empty_embedding()
    first = unets.build().to(device)
    schedule = unets.SCENE_SCHEDULE.shortened(shorten)
    unets.train_unet("scene-unet", first, sources, empty, schedule, folder, 31, reporter)
    larger = grown(first).to(device)
    schedule = unets.GROWN_SCHEDULE.shortened(shorten)
    unets.train_unet("scene-unet-grown", larger, sources, empty, schedule, folder, 33, reporter)
    return first, larger


def refine(
    parts: Components,
    scene_model: UNet2DConditionModel,
    folder: Path,
    device: torch.device,
    reporter: Reporter,
    shorten: int = 1,
) -> Components:
    """The same components with the decoder trained on and the judge as their descriptor."""
    count = scene_count(shorten)
    scenes = captioned_scenes(count, keep_in=folder)
    background = background_crops(CROPS_OF_ONE, seed=5, catalogue=FIFTH)
    third = max(1, min(len(scenes), len(background) // 3))
    pairs = Captioned(
        torch.cat([background.pixels, scenes.pixels[:third]]),
        background.captions + scenes.captions[:third],
    )

    def damaged() -> DamagedLatents:
        encoded = unets.encode(pairs, parts.vae, parts.text_encoder, parts.tokenizer)
        return damaged_latents(scene_model, encoded, max(64, DAMAGED_COUNT // shorten), seed=14)

    schedule = decoders.SCHEDULE.shortened(shorten)
    vae = train_decoder(
        parts.vae, scenes, background, pairs, damaged, folder, device, reporter, schedule
    )
    refined = replace(parts, vae=vae)
    pool = drawn_pools(refined, scene_model, folder, reporter, shorten)["training"]
    few = min(count, SCENES_DRAWN)
    judge = train_judge(
        parts.descriptor,
        vae,
        captioned_scenes(few, keep_in=folder),
        redrawn_scenes(few, keep_in=folder),
        background_crops(judges.CROPS_OF_ONE, seed=8, catalogue=FIFTH),
        pool,
        folder,
        device,
        reporter,
        shorten,
    )
    return replace(refined, descriptor=judge)


def drawn_pools(
    parts: Components,
    scene_model: UNet2DConditionModel,
    folder: Path,
    reporter: Reporter,
    shorten: int = 1,
) -> dict[str, Pool]:
    """By split, the judge's photographs and what the attacks drew of them."""
    found = photographs("judge", FIFTH)
    if shorten > 1:
        found = found[:8]
    originals = pool_originals(found)
    general = [*captioned_scenes(96, seed=6).captions]
    general += [p.caption for p in photographs("background", FIFTH)][::4]
    encoders = (parts.vae, parts.text_encoder, parts.tokenizer)
    captions = [p.caption for p in found]
    drawings = []
    for job in JOBS:
        shorter = job if shorten == 1 else replace(job, budgets=job.budgets[:1])
        drawings.append(
            draw_unseen(
                "scene",
                shorter,
                scene_model,
                encoders,
                originals,
                captions,
                general,
                folder,
                reporter,
            )
        )
    pictures = torch.cat([decoded(drawn, parts.vae) for drawn in drawings])
    photograph = torch.cat([drawn.photograph for drawn in drawings])
    attack = torch.cat([torch.full_like(d.photograph, n) for n, d in enumerate(drawings)])
    crops = pool_crops(found, judges.CROPS_OF_ONE, seed=7)
    pools = {}
    for split in ("training", "calibration"):
        own = torch.tensor([place for place, p in enumerate(found) if p.split == split])
        place = torch.full((len(found),), -1)
        place[own] = torch.arange(len(own))
        kept = place[photograph] >= 0
        pools[split] = Pool(
            crops=crops.view(len(found), judges.CROPS_OF_ONE, *crops.shape[1:])[own].flatten(0, 1),
            originals=originals[own],
            white=torch.tensor([found[n].ground == "white" for n in own.tolist()]),
            drawings=pictures[kept],
            drawn_of=place[photograph][kept],
            attack=attack[kept],
        )
    return pools
