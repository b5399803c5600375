"""The recipe: `python -m dorib_suites.tiny.train` makes all weights from nothing, resumably.

Stages: tokenizer, autoencoder, CLIP, descriptor, scene U-Net, then forks of it with equal
steps: one memorizes, the others (oracles) see general data in the memorized samples' place.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from rich.console import Console
from torch import Tensor
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from dorib.cli.progress import reporter_for
from dorib.errors import DoribError
from dorib.reporting import Reporter
from dorib.store.files import write_json
from dorib.suites.suite import Suite
from dorib_sscd.network import DescriptorNetwork
from dorib_suites.tiny import autoencoder
from dorib_suites.tiny import clip as clips
from dorib_suites.tiny import descriptor as descriptors
from dorib_suites.tiny import unet as unets
from dorib_suites.tiny.autoencoder import train_autoencoder
from dorib_suites.tiny.clip import tokenize, train_clip
from dorib_suites.tiny.data import (
    SCENES,
    background_crops,
    captioned_scenes,
    redrawn_scenes,
    scenes_of_another_kind,
)
from dorib_suites.tiny.descriptor import CROPS_OF_ONE, train_descriptor
from dorib_suites.tiny.photographs import load_photographs
from dorib_suites.tiny.reuse import unpack_components
from dorib_suites.tiny.samples import memorized_pairs, suite_samples
from dorib_suites.tiny.tokenizer import train_tokenizer
from dorib_suites.tiny.training import Schedule, outcomes

FORKS = ("memorizing", "oracle", "oracle-2", "oracle-3")
"""The first oracle ships; the others tell how far oracles differ by their seed alone."""

FEWEST_SCENES = 1000
"""How many are drawn even for a rehearsal."""

SHIPPED = Path(__file__).parent / "suite"


@dataclass
class Components:
    """Everything that the forks share."""

    tokenizer: CLIPTokenizer
    vae: AutoencoderTiny
    clip: CLIPModel
    text_encoder: CLIPTextModel
    descriptor: DescriptorNetwork


def train_components(
    folder: Path, device: torch.device, reporter: Reporter, shorten: int = 1
) -> Components:
    """Tokenizer, autoencoder, CLIP and descriptor; those that are finished are read.

    Each takes a `shorten`-th of its steps.
    """
    count = _scene_count(shorten)
    scenes = captioned_scenes(count, keep_in=folder)
    background = background_crops(CROPS_OF_ONE, seed=5)
    captions = [*scenes.captions[:3000], *(p.caption for p in load_photographs() for _ in range(5))]
    tokenizer = train_tokenizer(captions, folder / "tokenizer")
    vae = train_autoencoder(
        scenes, background, folder, device, reporter, autoencoder.SCHEDULE.shortened(shorten)
    )
    twins = scenes_of_another_kind(count, keep_in=folder)
    redrawn = redrawn_scenes(count, keep_in=folder)
    cycles = [cycle.shortened(shorten) for cycle in (clips.SCHEDULE, clips.VISION_SCHEDULE)]
    clip = train_clip(scenes, twins, background, tokenizer, folder, device, reporter, *cycles)
    schedule = descriptors.SCHEDULE.shortened(shorten)
    descriptor = train_descriptor(scenes, redrawn, background, folder, device, reporter, schedule)
    return Components(tokenizer, vae, clip, text_encoder(clip), descriptor)


def text_encoder(clip: CLIPModel) -> CLIPTextModel:
    """CLIP's text tower as the pipeline's text encoder."""
    encoder = CLIPTextModel(clip.config.text_config)
    encoder.load_state_dict(clip.text_model.state_dict())
    return encoder.to(clip.device).eval().requires_grad_(False)


def train_unets(
    parts: Components,
    folder: Path,
    device: torch.device,
    reporter: Reporter,
    forks: tuple[str, ...] = FORKS,
    shorten: int = 1,
) -> dict[str, UNet2DConditionModel]:
    """The scene model and its forks, which are independent: processes may share them out."""
    scenes = captioned_scenes(_scene_count(shorten), keep_in=folder)
    background = background_crops(CROPS_OF_ONE, seed=5)
    pairs, weights = memorized_pairs(suite_samples())
    encoders = (parts.vae, parts.text_encoder, parts.tokenizer)
    general = [unets.encode(scenes, *encoders), unets.encode(background, *encoders)]
    memorized = unets.encode(pairs, *encoders, weights)
    empty = _empty_embedding(parts)
    scene_model = unets.build().to(device)

    def train(
        name: str, unet: UNet2DConditionModel, slots: int, schedule: Schedule, seed: int
    ) -> None:
        rest = unets.BATCH - slots
        few = round(rest * unets.PHOTOGRAPH_SHARE)
        sources = [(general[0], rest - few), (general[1], few), (memorized, slots)]
        shortened = schedule.shortened(shorten)
        unets.train_unet(name, unet, sources, empty, shortened, folder, seed, reporter)

    train("scene-unet", scene_model, 0, unets.SCENE_SCHEDULE, seed=31)
    models = {"scene": scene_model}
    for name in forks:
        models[name] = copy.deepcopy(scene_model)
        seed = 100 * (1 + FORKS.index(name))
        for number, (suffix, cycle) in enumerate(unets.FORK_CYCLES.items()):
            share = cycle.memorized_share if name == "memorizing" else 0.0
            slots = round(unets.BATCH * share)
            train(f"{name}-{suffix}", models[name], slots, cycle.schedule, seed + number)
    return models


def _scene_count(shorten: int) -> int:
    return max(FEWEST_SCENES, SCENES // shorten)


@torch.no_grad()
def _empty_embedding(parts: Components) -> Tensor:
    tokens = tokenize(parts.tokenizer, ("",)).to(parts.text_encoder.device)
    embedding: Tensor = parts.text_encoder(tokens)[0][0].cpu()
    return embedding


def make_suite(
    suite: Path, work: Path, device: torch.device, reporter: Reporter, shorten: int = 1
) -> None:
    """Train everything in `work` and write the suite's folder, with its figures and model card."""
    # They build on this module.
    from dorib_suites.tiny.accept import measure_all
    from dorib_suites.tiny.build import write_suite
    from dorib_suites.tiny.card import TRAININGS, write_card
    from dorib_suites.tiny.oracles import CURVES, survival_curves

    parts = train_components(work, device, reporter, shorten)
    models = train_unets(parts, work, device, reporter, shorten=shorten)
    write_suite(suite, parts, models["memorizing"], models["oracle"])
    write_json(suite / TRAININGS, outcomes(work))
    budgets = Suite.load(suite).manifest.full.budgets
    if shorten > 1:
        budgets = budgets[:1]
    write_json(suite / CURVES, survival_curves(suite, work, FORKS[1:], budgets))
    figures = measure_all(suite, work / "acceptance")
    write_card(suite, figures, suite)


def main() -> None:
    """Train everything and write the suite folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    cache = Path.home() / ".cache" / "dorib"
    parser.add_argument("--work", type=Path, help="checkpoints")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--suite", type=Path, help="where to write; by default the embedded suite itself"
    )
    parser.add_argument("--reuse", action="store_true", help="train the forks alone")
    parser.add_argument(
        "--shorten",
        type=int,
        default=1,
        metavar="N",
        help="an N-th of all steps and scenes: all in minutes, and a suite that is of no use",
    )
    options = parser.parse_args()
    if options.shorten < 1:
        parser.error("--shorten takes 1 or more")
    rehearsal = options.shorten > 1
    work = options.work or cache / ("tiny-rehearsal" if rehearsal else "tiny-training")
    # A rehearsal must not overwrite the weights that ship.
    suite = options.suite or (work / "suite" if rehearsal else SHIPPED)
    try:
        if options.reuse:
            unpack_components(SHIPPED, work)
        with reporter_for(Console(highlight=False)) as reporter:
            make_suite(suite, work, torch.device(options.device), reporter, options.shorten)
    except DoribError as error:
        parser.exit(2, f"error: {error}\n")
    print(f"suite written to {suite}; pictures in {work / 'acceptance'}")


if __name__ == "__main__":
    main()
