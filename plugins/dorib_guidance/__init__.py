"""Guidance that stays out of a memorized image's way: other scales, early on.

Jain et al. 2025, "Classifier-Free Guidance inside the Attraction Basin May Cause Memorization"
(arXiv 2411.16738); the repulsion of GUARD (arXiv 2603.00133).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib import MethodCard, Params, Register, hookimpl

dorib_contract = 2


class GuidanceParams(Params):
    """The scale before a switch, when the switch is, and what is taken off the scale."""

    before: float = Field(
        0.0,
        ge=-20,
        le=20,
        description="guidance's scale before the switch; 0: no prompt, 1: the prompt alone, below "
        "0: away from the prompt; published: 0 (static), 1 (dynamic), -2 (opposite)",
    )
    switch: Literal["timestep", "difference", "motion"] = Field(
        "timestep",
        description="when the suite's scale comes back, image by image. timestep: at `until`; "
        "difference: at the first minimum of the two outputs' distance; motion: at the first "
        "minimum of 1 - the cosine between latents of neighbouring steps",
    )
    until: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the training timesteps, counted from clean images, above which "
        "`before` holds; 1 changes nothing; published: 0.5 to 0.65. For switch=timestep",
    )
    repulsion: float = Field(
        0.0,
        ge=0,
        le=20,
        description="taken off the scale at the first step, falling to 0 like a quarter of a "
        "cosine; published: 0 to 3",
    )


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `guidance`."""
    register(
        "guidance",
        "dorib_guidance.mitigation:Guidance",
        params=GuidanceParams,
        summary="no guidance, or the opposite, until sampling has left the memorized image's basin",
        card=MethodCard(
            title="Guidance outside the attraction basin",
            sentence="Leaves guidance out, or turns it round, until sampling has "
            "left the memorized image's basin.",
            authors="Jain et al.",
            year=2025,
            paper="https://arxiv.org/abs/2411.16738",
            code="https://github.com/SonyResearch/mitigating_memorization",
            family="while sampling",
            access="nothing",
        ),
    )


@hookimpl
def register_rules(register: Register) -> None:
    """Bring `guidance`, the rule that the mitigation's edit names."""
    register(
        "guidance",
        "dorib_guidance.rule:Guide",
        params=GuidanceParams,
        summary="another guidance scale, step by step and image by image",
    )
