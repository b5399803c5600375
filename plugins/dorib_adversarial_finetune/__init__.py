"""Adversarial fine-tuning (Kowalczuk et al. 2025): train away what a search still finds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib import MethodChoice, MethodSpec, Params, Register, hookimpl

dorib_contract = 2


class AdversarialFinetuneParams(Params):
    """What is searched with, what is trained towards, and how long.

    The published variant is the default; its epochs and learning rate, as recalled, are meant for
    Stable Diffusion. Ablations: `search=none` trains on each prompt's own embedding (plain
    fine-tuning), `search=dori:start=prompt` or `other` starts the search elsewhere,
    `target=empty_prompt` needs no surrogates, `utility_weight=0` has no utility loss.
    """

    search: MethodChoice = Field(
        MethodSpec.parse("dori:start=random"),
        description="attack that finds the embeddings to train on",
    )
    search_budget: int = Field(
        240, ge=1, description="work of one search for one image, in U-Net items"
    )
    target: Literal["surrogate", "empty_prompt"] = Field(
        "surrogate",
        description="what a found embedding is trained to give: a surrogate image, or, on the "
        "noisy original, what the model under training itself predicts without a prompt",
    )
    surrogate: MethodChoice = Field(
        MethodSpec(name="wanda"), description="mitigation under which surrogate images are drawn"
    )
    surrogates: int = Field(4, ge=1, description="surrogate images drawn for each memorized prompt")
    similarity_threshold: float | None = Field(
        None,
        gt=-1,
        le=1,
        description="a surrogate is kept below this correlation with the original; none: the 95th "
        "percentile between different originals",
    )
    utility_weight: float = Field(
        1.0, ge=0, description="weight of the denoising loss on general pairs; 0: no such loss"
    )
    general_images: int = Field(
        128,
        ge=1,
        description="general captions whose images, drawn by the untouched model, are "
        "the general pairs",
    )
    epochs: int = Field(5, ge=1, description="passes over the memorized images")
    steps_per_search: int = Field(
        1, ge=1, description="gradient steps on what one search has found, each on fresh noise"
    )
    batch_size: int = Field(
        4, ge=1, description="memorized images searched for together, and in one gradient step"
    )
    learning_rate: float = Field(1e-5, gt=0, description="step size of AdamW")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW")
    max_gradient_norm: float = Field(1.0, gt=0, description="longer gradients are scaled down")
    gradient_accumulation: int = Field(
        1, ge=1, description="batches of fresh noise whose gradients make one step"
    )
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = Field(
        "auto",
        description="number format of the U-Net's computations, weights being trained in float32; "
        "auto: the model's own",
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass, to save memory"
    )
    checkpoint_every: int = Field(
        10, ge=1, description="searches between two checkpoints that a killed fit goes on from"
    )


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `adversarial-finetune`."""
    register(
        "adversarial-finetune",
        "dorib_adversarial_finetune.mitigation:AdversarialFinetune",
        params=AdversarialFinetuneParams,
        summary="trains all U-Net weights against embeddings that a search finds",
    )
