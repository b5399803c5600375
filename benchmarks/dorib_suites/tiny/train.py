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

from dorib.progress import reporter_for
from dorib.reporting import Reporter
from dorib.store import write_json
from dorib.suite import Suite
from dorib_sscd.network import DescriptorNetwork
from dorib_suites.tiny import unet as unets
from dorib_suites.tiny.autoencoder import train_autoencoder
from dorib_suites.tiny.clip import tokenize, train_clip
from dorib_suites.tiny.data import background_crops, captioned_scenes
from dorib_suites.tiny.descriptor import CROPS_OF_ONE, train_descriptor
from dorib_suites.tiny.photographs import load_photographs
from dorib_suites.tiny.reuse import unpack_components
from dorib_suites.tiny.samples import memorized_pairs, suite_samples
from dorib_suites.tiny.tokenizer import train_tokenizer
from dorib_suites.tiny.training import Schedule, outcomes

FORKS = ("memorizing", "oracle", "oracle-2", "oracle-3")
"""The first oracle ships; the others tell how far oracles differ by their seed alone."""


@dataclass
class Components:
    """Everything that the forks share."""

    tokenizer: CLIPTokenizer
    vae: AutoencoderTiny
    clip: CLIPModel
    text_encoder: CLIPTextModel
    descriptor: DescriptorNetwork


def train_components(folder: Path, device: torch.device, reporter: Reporter) -> Components:
    """Tokenizer, autoencoder, CLIP and descriptor; those that are finished are read."""
    scenes = captioned_scenes(keep_in=folder)
    background = background_crops(CROPS_OF_ONE, seed=5)
    captions = [*scenes.captions[:3000], *(p.caption for p in load_photographs() for _ in range(5))]
    tokenizer = train_tokenizer(captions, folder / "tokenizer")
    vae = train_autoencoder(scenes, background, folder, device, reporter)
    clip = train_clip(scenes, background, tokenizer, folder, device, reporter)
    descriptor = train_descriptor(scenes, background, folder, device, reporter)
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
) -> dict[str, UNet2DConditionModel]:
    """The scene model and its forks, which are independent: processes may share them out."""
    scenes = captioned_scenes(keep_in=folder)
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
        unets.train_unet(name, unet, sources, empty, schedule, folder, seed, reporter)

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


@torch.no_grad()
def _empty_embedding(parts: Components) -> Tensor:
    tokens = tokenize(parts.tokenizer, ("",)).to(parts.text_encoder.device)
    embedding: Tensor = parts.text_encoder(tokens)[0][0].cpu()
    return embedding


def main() -> None:
    """Train everything and write the suite folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path.home() / ".cache" / "dorib" / "tiny-training"
    parser.add_argument("--work", type=Path, default=default, help="checkpoints")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--suite", type=Path, default=Path(__file__).parent / "suite")
    parser.add_argument("--reuse", action="store_true", help="train the forks alone")
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.reuse:
        unpack_components(options.suite, options.work)

    with reporter_for(Console(highlight=False)) as reporter:
        parts = train_components(options.work, device, reporter)
        models = train_unets(parts, options.work, device, reporter)
    # They build on this module.
    from dorib_suites.tiny.accept import measure_all
    from dorib_suites.tiny.build import write_suite
    from dorib_suites.tiny.card import TRAININGS, write_card
    from dorib_suites.tiny.oracles import CURVES, survival_curves

    write_suite(options.suite, parts, models["memorizing"], models["oracle"])
    write_json(options.suite / TRAININGS, outcomes(options.work))
    budgets = Suite.load(options.suite).manifest.full.budgets
    curves = survival_curves(options.suite, options.work, FORKS[1:], budgets)
    write_json(options.suite / CURVES, curves)
    figures = measure_all(options.suite, options.work / "acceptance")
    write_card(options.suite, figures, options.suite)
    print(f"suite written to {options.suite}; pictures in {options.work / 'acceptance'}")


if __name__ == "__main__":
    main()
