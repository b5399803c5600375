"""Probes of memorization that make no image: denoising losses, and the first sampling step."""

from __future__ import annotations

from pydantic import Field

from dorib import Params, Register, hookimpl

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
    )
    register(
        "clid",
        "dorib_probes.losses:Clid",
        params=LossParams,
        summary="how much the caption lowers the denoising loss of the original",
    )
    register(
        "magnitude",
        "dorib_probes.first_steps:Magnitude",
        params=FirstStepParams,
        summary="how far the caption moves the first step's output, without the original",
    )
    register(
        "one-step",
        "dorib_probes.first_steps:OneStep",
        params=FirstStepParams,
        summary="how far from the noise one step leads, without the original",
    )
