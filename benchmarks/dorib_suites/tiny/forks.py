"""The forks of the scene model: one memorizes, the others (oracles) see general data instead."""

from __future__ import annotations

import copy
from pathlib import Path

from diffusers import UNet2DConditionModel

from dorib.reporting import Reporter
from dorib_suites.tiny import unet as unets
from dorib_suites.tiny.components import Components, scene_count
from dorib_suites.tiny.data import background_crops, captioned_scenes
from dorib_suites.tiny.descriptor import CROPS_OF_ONE
from dorib_suites.tiny.photographs import FIFTH
from dorib_suites.tiny.samples import memorized_pairs, suite_samples

FORKS = ("memorizing", "oracle", "oracle-2", "oracle-3")
"""The first oracle ships; the others tell how far oracles differ by their seed alone."""


def train_forks(
    parts: Components,
    scene_model: UNet2DConditionModel,
    folder: Path,
    reporter: Reporter,
    forks: tuple[str, ...] = FORKS,
    shorten: int = 1,
) -> dict[str, UNet2DConditionModel]:
    """Forks with equal steps; they are independent: processes may share them out."""
    scenes = captioned_scenes(scene_count(shorten), keep_in=folder)
    background = background_crops(CROPS_OF_ONE, seed=5, catalogue=FIFTH)
    pairs, weights = memorized_pairs(suite_samples(FIFTH))
    encoders = (parts.vae, parts.text_encoder, parts.tokenizer)
    general = [unets.encode(scenes, *encoders), unets.encode(background, *encoders)]
    memorized = unets.encode(pairs, *encoders, weights)
    empty = parts.empty_embedding()
    models = {}
    for name in forks:
        models[name] = copy.deepcopy(scene_model)
        seed = 100 * (1 + FORKS.index(name))
        names = [f"{name}-{suffix}" for suffix in unets.FORK_CYCLES]
        finished = [n for n, of in enumerate(names) if (folder / f"{of}.safetensors").exists()]
        for number, cycle in enumerate(unets.FORK_CYCLES.values()):
            if number < max(finished, default=0):
                # A later cycle went on from it.
                continue
            share = cycle.memorized_share if name == "memorizing" else 0.0
            slots = round(unets.BATCH * share)
            rest = unets.BATCH - slots
            few = round(rest * unets.PHOTOGRAPH_SHARE)
            sources = [(general[0], rest - few), (general[1], few), (memorized, slots)]
            unets.train_unet(
                names[number],
                models[name],
                sources,
                empty,
                cycle.schedule.shortened(shorten),
                folder,
                seed + number,
                reporter,
            )
    return models
