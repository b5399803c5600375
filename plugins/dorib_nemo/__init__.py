"""NeMo (Hintersdorf et al. 2024): block the neurons that carry a memorized prompt."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib import MethodCard, Params, Register, hookimpl

dorib_contract = 2


class NemoParams(Params):
    """How memorizing neurons are located; the defaults are the authors' unless said otherwise."""

    mode: Literal["corrected", "compat"] = Field(
        "corrected",
        description="compat: every decision as the authors' code takes it, its faults included",
    )
    scope: Literal["per_sample", "global"] = Field(
        "per_sample", description="each prompt's own neurons, or the union of all prompts' for all"
    )
    seeds: int = Field(10, ge=2, description="starting latents that each prompt is looked at with")
    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="MS-SSIM above which two noise differences show the same image; none: the mean "
        "of non-memorized prompts and one standard deviation (compat: the authors' 0.428)",
    )
    threshold_captions: int = Field(
        64, ge=2, description="general captions, drawn by lot, that the threshold is derived from"
    )
    timestep: int | None = Field(
        None,
        ge=1,
        description="the sampling timestep that is looked at, counted from 1; none: the first "
        "(compat: the second)",
    )
    theta_start: float = Field(
        5.0, gt=0, description="deviations from the mean activation that pick a neuron, at first"
    )
    theta_step: float = Field(0.25, gt=0, description="what theta falls by in each round")
    theta_min: float = Field(
        1.0, ge=0, description="where theta ends: the last that is tried (compat: is not tried)"
    )
    batch_size: int = Field(
        64, ge=1, description="latents run together; candidates share a forward as far as they fit"
    )


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `nemo`."""
    register(
        "nemo",
        "dorib_nemo.mitigation:Nemo",
        params=NemoParams,
        summary="blocks the cross-attention value neurons that a memorized prompt relies on",
        card=MethodCard(
            title="NeMo",
            sentence="Blocks the few cross-attention neurons without which a "
            "memorized caption loses its image.",
            authors="Hintersdorf et al.",
            year=2024,
            paper="https://arxiv.org/abs/2406.02366",
            code="https://github.com/ml-research/localizing_memorization_in_diffusion_models",
            family="pruning",
            access="captions",
        ),
    )
