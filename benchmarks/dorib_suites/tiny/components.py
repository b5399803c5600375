"""The first stages of the recipe: tokenizer, autoencoder, CLIP and descriptor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from dorib.reporting import Reporter
from dorib_sscd.network import DescriptorNetwork
from dorib_suites.tiny import autoencoder
from dorib_suites.tiny import clip as clips
from dorib_suites.tiny import descriptor as descriptors
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
from dorib_suites.tiny.photographs import FIFTH, load_photographs
from dorib_suites.tiny.tokenizer import train_tokenizer

FEWEST_SCENES = 1000
"""How many are drawn even for a rehearsal."""


@dataclass
class Components:
    """Everything that the forks share."""

    tokenizer: CLIPTokenizer
    vae: AutoencoderTiny
    clip: CLIPModel
    text_encoder: CLIPTextModel
    descriptor: DescriptorNetwork

    @torch.no_grad()
    def empty_embedding(self) -> Tensor:
        """The embedding of the empty caption, `[tokens, width]`."""
        tokens = tokenize(self.tokenizer, ("",)).to(self.text_encoder.device)
        embedding: Tensor = self.text_encoder(tokens)[0][0].cpu()
        return embedding


def train_components(
    folder: Path, device: torch.device, reporter: Reporter, shorten: int = 1
) -> Components:
    """Tokenizer, autoencoder, CLIP and descriptor; those that are finished are read.

    Each takes a `shorten`-th of its steps.
    """
    count = scene_count(shorten)
    scenes = captioned_scenes(count, keep_in=folder)
    background = background_crops(CROPS_OF_ONE, seed=5, catalogue=FIFTH)
    titles = [p.caption for p in load_photographs(FIFTH) for _ in range(5)]
    tokenizer = train_tokenizer([*scenes.captions[:3000], *titles], folder / "tokenizer")
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


def scene_count(shorten: int) -> int:
    """How many scenes a recipe of a `shorten`-th of the steps draws."""
    return max(FEWEST_SCENES, SCENES // shorten)
