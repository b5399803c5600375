"""Descent on the prompt's share of the first output, in the embeddings or in the initial noise.

Wen et al. 2024, "Detecting, Explaining, and Mitigating Memorization in Diffusion Models" (arXiv
2407.21720): the embeddings. Han et al. 2025 (arXiv 2510.08625): the noise, image by image or by
finite differences. SAIL (arXiv 2412.04140): the noise, away from where that share is sharp.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib import MethodCard, Params, Register, hookimpl

dorib_contract = 2


class StepParams(Params):
    """How a descent steps: AdamW, each image by itself."""

    steps: int = Field(10, ge=0, le=1000, description="at most so many; 0 changes nothing")
    rate: float = Field(0.05, gt=0, le=10, description="AdamW's learning rate")
    weight_decay: float = Field(0.01, ge=0, le=1, description="AdamW's weight decay")


class ThresholdParams(Params):
    """Where a descent stops."""

    percentile: float = Field(
        95.0,
        ge=0,
        le=100,
        description="stop at this percentile of what general captions have, without a descent",
    )
    threshold: float | None = Field(
        None,
        ge=0,
        description="stop here instead (compat); depends on parametrisation and latents. "
        "Published: 3 to 7 for SD 1.4's embeddings and 0.7 to 1.5 for its noise, 50 to 90 and 5 to "
        "20 for SD 2",
    )
    captions: int = Field(100, ge=1, le=10_000, description="at most so many general captions")
    batch_size: int = Field(8, ge=1, description="captions handled together in the fit")


class EmbeddingDescentParams(ThresholdParams, StepParams):
    """As published by Wen et al., but for where it stops."""


class LossParams(Params):
    """What the descent in the noise goes down on."""

    loss: Literal["magnitude", "sharpness"] = Field(
        "magnitude",
        description="magnitude: of the prompt's share of the output (Han et al.); sharpness: of "
        "that share one unit along itself, and of the noise (SAIL; published: rate=0.05, steps=10, "
        "weight_decay=0)",
    )
    penalty: float = Field(
        0.05, ge=0, description="weight of the noise's own length, for sharpness; SD 2: 0.01"
    )


class NoiseDescentParams(LossParams, ThresholdParams, StepParams):
    """As published by Han et al., but for where it stops, and for the cap on steps."""

    steps: int = Field(100, ge=0, le=1000, description="at most so many; 0 changes nothing")
    rate: float = Field(0.01, gt=0, le=10, description="AdamW's learning rate; SD 2: 0.1")


class NoiseAdjustmentParams(Params):
    """Finite differences in place of gradients, and guidance that starts late."""

    repeats: int = Field(2, ge=0, le=100, description="adjustments one after the other; SD 2: 4")
    strength: float = Field(0.7, ge=0, le=100, description="what each is scaled by")
    radius: float = Field(
        50.0, gt=0, description="how far along the prompt's share the second look is; SD 2: 30"
    )
    before: float = Field(
        0.0, ge=-20, le=20, description="guidance's scale at first; 0: no prompt, 1: it alone"
    )
    until: float = Field(
        0.9,
        ge=0,
        le=1,
        description="share of the training timesteps above which `before` holds; 1: never",
    )


class DescentRuleParams(StepParams):
    """A descent with its threshold worked out."""

    threshold: float = Field(ge=0, description="an image whose loss is not above it is left alone")


class NoiseRuleParams(LossParams, DescentRuleParams):
    """The same in the noise."""


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `embedding-descent`, `noise-descent` and `noise-adjustment`."""
    register(
        "embedding-descent",
        "dorib_embedding_descent.mitigations:EmbeddingDescent",
        params=EmbeddingDescentParams,
        summary="moves embeddings until the prompt's share of the first output is an ordinary one",
        card=MethodCard(
            title="Prompt embedding descent",
            sentence="Moves each prompt's embedding until its share of the first "
            "output is an ordinary one.",
            authors="Wen et al.",
            year=2024,
            paper="https://arxiv.org/abs/2407.21720",
            code="https://github.com/YuxinWenRick/diffusion_memorization",
            family="while sampling",
            access="nothing",
        ),
    )
    register(
        "noise-descent",
        "dorib_embedding_descent.mitigations:NoiseDescent",
        params=NoiseDescentParams,
        summary="moves the initial noise until the prompt's share of the first output is ordinary",
        card=MethodCard(
            title="Initial noise, per sample",
            sentence="Moves the initial noise until the prompt's share of the "
            "first output is an ordinary one.",
            authors="Han et al.",
            year=2025,
            paper="https://arxiv.org/abs/2510.08625",
            family="while sampling",
            access="nothing",
        ),
        variants={
            "loss=sharpness": MethodCard(
                title="SAIL",
                sentence="Moves the initial noise to where the prompt's share of the "
                "output is not sharp.",
                authors="Jeon et al.",
                year=2025,
                paper="https://arxiv.org/abs/2412.04140",
                family="while sampling",
                access="nothing",
            ),
        },
    )
    register(
        "noise-adjustment",
        "dorib_embedding_descent.mitigations:NoiseAdjustment",
        params=NoiseAdjustmentParams,
        summary="moves the initial noise by finite differences, and guides late",
        card=MethodCard(
            title="Initial noise, batch-wise",
            sentence="Moves the initial noise by finite differences, and guides late.",
            authors="Han et al.",
            year=2025,
            paper="https://arxiv.org/abs/2510.08625",
            family="while sampling",
            access="nothing",
        ),
    )


@hookimpl
def register_rules(register: Register) -> None:
    """Bring the rules that the mitigations' edits name, under the same names."""
    register(
        "embedding-descent",
        "dorib_embedding_descent.rules:DescendEmbeddings",
        params=DescentRuleParams,
        summary="descends in the embeddings before each image is sampled",
    )
    register(
        "noise-descent",
        "dorib_embedding_descent.rules:DescendNoise",
        params=NoiseRuleParams,
        summary="descends in the noise before each image is sampled",
    )
    register(
        "noise-adjustment",
        "dorib_embedding_descent.rules:AdjustNoise",
        params=NoiseAdjustmentParams,
        summary="adjusts the noise before each image is sampled, and guides late",
    )
