"""The suite's CLIP: its text tower is the pipeline's text encoder; the whole judges alignment.

It is trained on scenes and background photographs only: no memorized sample and no control.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from dorib.reporting import Reporter
from dorib_suites.tiny.data import Captioned, as_float
from dorib_suites.tiny.scenes import SIZE
from dorib_suites.tiny.tokenizer import MAX_TOKENS
from dorib_suites.tiny.training import Schedule, backward_of, train

TEXT_WIDTH = 64
SCHEDULE = Schedule(steps=2500, learning_rate=1.5e-3, average_decay=0.995)
VISION_SCHEDULE = Schedule(steps=2500, learning_rate=1e-3, average_decay=0.995)
"""The vision tower learns on beside the finished text tower: kinds of shapes are seen late."""
BATCH = 128
PHOTOGRAPHS = 24
ON_ONE_GROUND = 26
"""Scenes of a batch that have texture and colour of the ground in common."""
WORD_SPREAD = 0.2
"""Standard deviation of the untrained word embeddings. At the usual 0.02 a word is lost among the
words before it, and only what contrast needs comes back: colours, not kinds of shapes.
"""
MEAN, STD = 0.5, 0.5


def build(tokenizer: CLIPTokenizer) -> CLIPModel:
    """The untrained model."""
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=64,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=8,
        projection_dim=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(20)
        config = CLIPConfig(
            text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=64
        )
        model = CLIPModel(config)
        nn.init.normal_(model.text_model.embeddings.token_embedding.weight, std=WORD_SPREAD)
        return model


def train_clip(
    scenes: Captioned,
    twins: Captioned,
    background: Captioned,
    tokenizer: CLIPTokenizer,
    folder: Path,
    device: torch.device,
    reporter: Reporter,
    schedule: Schedule,
    vision_schedule: Schedule,
) -> CLIPModel:
    """Contrastive training; equal captions within a batch are not held against each other.

    `twins` are the scenes again, but for the kind of one shape; each scene of a batch stands beside
    its twin. Without them the two towers hardly know a square from a circle, since colours tell
    scenes drawn at random apart.
    """
    model = build(tokenizer).to(device)
    scene_tokens = tokenize(tokenizer, scenes.captions)
    twin_tokens = tokenize(tokenizer, twins.captions)
    grounds = list(_by_ground(scenes.captions).values())
    background_tokens = tokenize(tokenizer, background.captions)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        ground = grounds[int(torch.randint(len(grounds), (), generator=generator))]
        alike = ground[torch.randint(len(ground), (ON_ONE_GROUND,), generator=generator)]
        others = (BATCH - PHOTOGRAPHS) // 2 - ON_ONE_GROUND
        chosen = torch.cat([alike, torch.randint(len(scenes), (others,), generator=generator)])
        crops = torch.randint(len(background), (PHOTOGRAPHS,), generator=generator)
        pixels = [scenes.pixels[chosen], twins.pixels[chosen], background.pixels[crops]]
        tokens = torch.cat([scene_tokens[chosen], twin_tokens[chosen], background_tokens[crops]])
        tokens = tokens.to(device)
        images = _shaken(as_float(torch.cat(pixels)), generator).to(device)
        output = model(input_ids=tokens, pixel_values=(images - MEAN) / STD)
        equal = (tokens[:, None] == tokens[None]).all(dim=2)
        equal.fill_diagonal_(False)
        logits = output.logits_per_text.masked_fill(equal, float("-inf"))
        labels = torch.arange(len(logits), device=device)
        both = functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)
        return both / 2

    train("clip", model, backward_of(loss), schedule, folder, seed=21, reporter=reporter)
    model.text_model.requires_grad_(False)
    model.text_projection.requires_grad_(False)
    train("clip-vision", model, backward_of(loss), vision_schedule, folder, 22, reporter)
    return model


def tokenize(tokenizer: CLIPTokenizer, captions: tuple[str, ...]) -> Tensor:
    """Token ids `[N, MAX_TOKENS]`, int64."""
    encoded = tokenizer(
        list(captions),
        padding="max_length",
        max_length=MAX_TOKENS,
        truncation=True,
        return_tensors="pt",
    )
    ids: Tensor = encoded.input_ids
    return ids


def _by_ground(captions: tuple[str, ...]) -> dict[str, Tensor]:
    """The rows of the captions that end in the same ground, `[rows]` each."""
    rows: dict[str, list[int]] = {}
    for row, caption in enumerate(captions):
        rows.setdefault(caption.rpartition(" on a ")[2], []).append(row)
    return {ground: torch.tensor(found) for ground, found in rows.items()}


def _shaken(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shifted by up to four pixels, with a little noise and other brightness."""
    padded = functional.pad(images, (4, 4, 4, 4), mode="replicate")
    offsets = torch.randint(0, 9, (len(images), 2), generator=generator)
    shifted = torch.stack(
        [
            picture[:, y : y + SIZE, x : x + SIZE]
            for picture, (y, x) in zip(padded, offsets.tolist(), strict=True)
        ]
    )
    gain = 1 + 0.1 * (2 * torch.rand((len(images), 1, 1, 1), generator=generator) - 1)
    spread = 0.05 * torch.rand((len(images), 1, 1, 1), generator=generator)
    noise = torch.randn(shifted.shape, generator=generator)
    return (shifted * gain + spread * noise).clamp(0, 1)
