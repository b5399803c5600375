"""The recipe: `python -m dorib_suites.tiny.train` makes all weights from nothing, resumably.

Stages: tokenizer, autoencoder, CLIP, descriptor, scene U-Net, then two forks of it with equal
steps: one memorizes, the other (the oracle) sees general data in the memorized samples' place.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

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

Report = Callable[[str], None]


@dataclass
class Components:
    """Everything that the forks share."""

    tokenizer: CLIPTokenizer
    vae: AutoencoderTiny
    clip: CLIPModel
    text_encoder: CLIPTextModel
    descriptor: DescriptorNetwork


def train_components(folder: Path, device: torch.device, report: Report) -> Components:
    """Tokenizer, autoencoder, CLIP and descriptor; those that are finished are read."""
    scenes = captioned_scenes(keep_in=folder)
    background = background_crops(CROPS_OF_ONE, seed=5)
    captions = [*scenes.captions[:3000], *(p.caption for p in load_photographs() for _ in range(5))]
    tokenizer = train_tokenizer(captions, folder / "tokenizer")
    vae = train_autoencoder(scenes, background, folder, device, report)
    clip = train_clip(scenes, background, tokenizer, folder, device, report)
    descriptor = train_descriptor(scenes, background, folder, device, report)
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
    report: Report,
    forks: tuple[str, ...] = ("memorizing", "oracle"),
) -> dict[str, UNet2DConditionModel]:
    """The scene model and its forks; they are independent, so two processes may train them."""
    scenes = captioned_scenes(keep_in=folder)
    background = background_crops(CROPS_OF_ONE, seed=5)
    pairs, weights = memorized_pairs(suite_samples())
    encoders = (parts.vae, parts.text_encoder, parts.tokenizer)
    general = [unets.encode(scenes, *encoders), unets.encode(background, *encoders)]
    memorized = unets.encode(pairs, *encoders, weights)
    empty = _empty_embedding(parts)
    photographs = round(unets.BATCH * unets.PHOTOGRAPH_SHARE)
    scene_model = unets.build().to(device)
    counts = [unets.BATCH - photographs, photographs]
    unets.train_unet(
        "scene-unet",
        scene_model,
        list(zip(general, counts, strict=True)),
        empty,
        unets.SCENE_SCHEDULE,
        folder,
        seed=31,
        report=report,
    )
    slots = round(unets.BATCH * unets.MEMORIZED_SHARE)
    rest = unets.BATCH - slots
    few = round(rest * unets.PHOTOGRAPH_SHARE)
    sources = {
        "memorizing": [(general[0], rest - few), (general[1], few), (memorized, slots)],
        "oracle": list(zip(general, counts, strict=True)),
    }
    models = {"scene": scene_model}
    for name in forks:
        models[name] = copy.deepcopy(scene_model)
        cycles = {"unet": unets.FORK_SCHEDULE, "unet-polish": unets.POLISH_SCHEDULE}
        for seed, (cycle, schedule) in enumerate(cycles.items(), start=32):
            unets.train_unet(
                f"{name}-{cycle}",
                models[name],
                sources[name],
                empty,
                schedule,
                folder,
                seed=seed,
                report=report,
            )
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
    parser.add_argument(
        "--reuse", action="store_true", help="keep the suite's decoder, CLIP and descriptor"
    )
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.reuse:
        unpack_components(options.suite, options.work)

    def report(line: str) -> None:
        print(time.strftime("%H:%M:%S"), line, flush=True)

    parts = train_components(options.work, device, report)
    models = train_unets(parts, options.work, device, report)
    from dorib_suites.tiny.build import write_suite

    write_suite(options.suite, parts, models["memorizing"], models["oracle"])
    report(f"suite written to {options.suite}")


if __name__ == "__main__":
    main()
