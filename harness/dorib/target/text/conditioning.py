"""What a U-Net is conditioned on: embeddings of one text encoder, or those of SDXL's two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dorib.contracts.embeddings import Embeddings
from dorib.target.quiet import quiet


def has_two_encoders(pipeline: Any) -> bool:
    """Whether it is of SDXL's kind: two text encoders, pooled embeddings, sizes as numbers."""
    return bool(pipeline.unet.config.addition_embed_type == "text_time")


def names(pipeline: Any) -> frozenset[str]:
    """Of the embeddings that the U-Net is conditioned on."""
    pooled = {"pooled_prompt_embeds"} if has_two_encoders(pipeline) else set()
    return frozenset({"prompt_embeds"} | pooled)


@torch.no_grad()
def encode_prompt(pipeline: Any, prompts: Sequence[str], device: torch.device) -> Embeddings:
    """Embeddings of `prompts`, in the text encoder's dtype.

    Captions beyond the encoder's length are cut, as in diffusers.
    """
    # diffusers warns of each caption that it cuts.
    with quiet():
        encoded = pipeline.encode_prompt(
            prompt=list(prompts),
            device=device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
        )
    if has_two_encoders(pipeline):
        return {"prompt_embeds": encoded[0], "pooled_prompt_embeds": encoded[2]}
    return {"prompt_embeds": encoded[0]}


def encode_nothing(pipeline: Any, device: torch.device) -> Embeddings:
    """What guidance steers away from, for one item.

    The empty prompt's embeddings, or zeros where the pipeline asks for them, as SDXL's does.
    """
    empty = encode_prompt(pipeline, [""], device)
    if pipeline.config.get("force_zeros_for_empty_prompt", False):
        return {name: torch.zeros_like(value) for name, value in empty.items()}
    return empty


def unet_arguments(
    pipeline: Any, embeddings: Embeddings, height: int, width: int
) -> dict[str, Any]:
    """What the U-Net takes beside latents and timesteps.

    SDXL is told that the image of `height` x `width` pixels was neither resized nor cropped, which
    is diffusers' default.
    """
    prompts = embeddings["prompt_embeds"]
    arguments: dict[str, Any] = {"encoder_hidden_states": prompts}
    if has_two_encoders(pipeline):
        sizes = torch.tensor([height, width, 0, 0, height, width])
        arguments["added_cond_kwargs"] = {
            "text_embeds": embeddings["pooled_prompt_embeds"],
            "time_ids": sizes.to(prompts.device, prompts.dtype).repeat(len(prompts), 1),
        }
    return arguments
