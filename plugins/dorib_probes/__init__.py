"""Probes of memorization that make no image: denoising losses, and the first sampling step."""

from __future__ import annotations

from pydantic import Field

from dorib import MethodCard, Params, Register, hookimpl

dorib_contract = 2


class LossParams(Params):
    """On what a loss is averaged."""

    pairs: int = Field(64, ge=1, description="(timestep, noise) pairs, the same for all samples")


class FirstStepParams(Params):
    """On what a first step is averaged."""

    noises: int = Field(4, ge=1, description="initial noises, the same for all samples")


@hookimpl
def register_probes(register: Register) -> None:
    """Bring `loss-gap`, `clid`, `magnitude` and `one-step`."""
    register(
        "loss-gap",
        "dorib_probes.losses:LossGap",
        params=LossParams,
        summary="how low the denoising loss of the original is under its caption",
        card=MethodCard(
            title="Denoising loss",
            sentence="How low the loss of the original is under its caption.",
            authors="Matsumoto et al.",
            year=2023,
            paper="https://arxiv.org/abs/2302.03262",
        ),
    )
    register(
        "clid",
        "dorib_probes.losses:Clid",
        params=LossParams,
        summary="how much the caption lowers the denoising loss of the original",
        card=MethodCard(
            title="CLiD",
            sentence="How much the caption lowers the loss of the original.",
            authors="Zhai et al.",
            year=2024,
            paper="https://arxiv.org/abs/2405.20771",
        ),
    )
    register(
        "magnitude",
        "dorib_probes.first_steps:Magnitude",
        params=FirstStepParams,
        summary="how far the caption moves the first step's output, without the original",
        card=MethodCard(
            title="Magnitude of the text condition",
            sentence="How far the caption moves the first step's output.",
            authors="Wen et al.",
            year=2024,
            paper="https://arxiv.org/abs/2407.21720",
            code="https://github.com/YuxinWenRick/diffusion_memorization",
        ),
    )
    register(
        "one-step",
        "dorib_probes.first_steps:OneStep",
        params=FirstStepParams,
        summary="how far from the noise one step leads, without the original",
        card=MethodCard(
            title="One-step synthesis",
            sentence="How far from the noise a single step leads.",
            authors="Webster",
            year=2023,
            paper="https://arxiv.org/abs/2305.08694",
            code="https://github.com/ryanwebster90/onestep-extraction",
        ),
    )
