"""Data unlearning: the memorized images are taken out by gradient steps of their own."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib import GeneralPairsParams, MethodCard, MethodChoice, MethodSpec, Register, hookimpl

dorib_contract = 2


class UnlearnParams(GeneralPairsParams):
    """Which loss, between which pictures, and how long.

    Published settings are the default: those of SISS (Alberti et al., "Data Unlearning in Diffusion
    Models", ICLR 2025) and its code, which are its baselines' as well, and the 10 neighbours of
    ReTrack (arXiv 2509.13007), which takes 30 steps. There a model unlearns one image; here one
    model unlearns all, at as many steps for each.
    """

    loss: Literal["naive", "neggrad", "erasediff", "siss", "retrack"] = Field(
        "siss",
        description="naive: trains on kept pictures alone; neggrad: climbs the loss of forgotten "
        "ones; erasediff: descends to noise on these as far as kept ones allow; siss: both by "
        "importance weights on one mixture; retrack: leads forgotten pictures to kept neighbours",
    )
    balance: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="siss: share of noisy latents made from forgotten pictures; retrack: weight of "
        "the loss on these, beside the rest of 1 for kept ones",
    )
    forget_norm: float = Field(
        0.1,
        ge=0,
        description="siss: length of the forgetting gradient, as a share of the keeping one's; the "
        "authors' advice, where their code has a length tuned for one model",
    )
    erase_rate: float = Field(
        0.01,
        ge=0,
        description="erasediff: how fast the loss on forgotten pictures has to fall at least, as a "
        "share of its own steepest descent",
    )
    erase_noise: Literal["normal", "uniform"] = Field(
        "normal",
        description="erasediff: the noise that is regressed to on forgotten pictures; uniform in "
        "the code that SISS compares with (compat)",
    )
    neighbours: int = Field(
        10, ge=1, description="retrack: kept pictures, nearest to the forgotten one, led to"
    )
    timesteps: Literal["all", "last"] = Field(
        "all",
        description="which are trained at, evenly; last: the noisiest alone, as SISS's code does "
        "for Stable Diffusion (compat)",
    )
    keep: Literal["auto", "own", "general"] = Field(
        "auto",
        description="what is kept under a memorized caption: the model's own pictures of it that "
        "are no copies (own), general pictures, or own ones where there are any (auto)",
    )
    keep_under: MethodChoice = Field(
        MethodSpec(name="none"),
        description="mitigation under which own pictures are drawn; none: the untouched model's, "
        "as published",
    )
    pictures: int = Field(
        16,
        ge=0,
        description="own pictures drawn for each memorized caption; copies among them are "
        "forgotten beside the original",
    )
    similarity_threshold: float | None = Field(
        None,
        gt=-1,
        le=1,
        description="an own picture is a copy from this correlation with the original on; none: "
        "the 95th percentile between different originals",
    )
    steps_per_image: int = Field(35, ge=1, description="gradient steps for each memorized image")
    gradient_accumulation: int = Field(
        4, ge=1, description="batches whose gradients make one step: 16 draws in all, as published"
    )


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `unlearn`."""
    register(
        "unlearn",
        "dorib_unlearn.mitigation:Unlearn",
        params=UnlearnParams,
        summary="unlearns the memorized images: naive, NegGrad, EraseDiff, SISS or ReTrack",
        card=MethodCard(
            title="SISS",
            sentence="Unlearns images by importance weights on a mixture of "
            "those to forget and those to keep.",
            authors="Alberti et al.",
            year=2025,
            paper="https://arxiv.org/abs/2503.01034",
            code="https://github.com/claserken/SISS",
            family="fine-tuning",
            access="training images",
        ),
        variants={
            "loss=naive": MethodCard(
                title="Naive deletion",
                sentence="Goes on training on the kept images alone.",
                authors="Alberti et al.",
                year=2025,
                paper="https://arxiv.org/abs/2503.01034",
                code="https://github.com/claserken/SISS",
                family="fine-tuning",
                access="training images",
            ),
            "loss=neggrad": MethodCard(
                title="NegGrad",
                sentence="Climbs the loss of the images to forget.",
                authors="Golatkar et al.",
                year=2020,
                paper="https://arxiv.org/abs/1911.04933",
                family="fine-tuning",
                access="training images",
            ),
            "loss=erasediff": MethodCard(
                title="EraseDiff",
                sentence="Leads images to forget to noise, as far as the loss on kept ones allows.",
                authors="Wu et al.",
                year=2024,
                paper="https://arxiv.org/abs/2401.05779",
                family="fine-tuning",
                access="training images",
            ),
            "loss=retrack": MethodCard(
                title="ReTrack",
                sentence="Leads noisy images to forget to their nearest kept neighbours.",
                authors="Shi et al.",
                year=2025,
                paper="https://arxiv.org/abs/2509.13007",
                code="https://github.com/sqt24/ReTrack",
                family="fine-tuning",
                access="training images",
            ),
        },
    )
