"""Wanda for memorization (Chavhan et al. 2024): zero the weights that a prompt leans on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib import MethodCard, Params, Register, hookimpl

dorib_contract = 2


class WandaParams(Params):
    """How many weights are zeroed, and on what evidence."""

    sparsity: float = Field(
        0.01, gt=0, lt=1, description="share of each output row's weights chosen at a timestep"
    )
    timesteps: int | None = Field(
        None,
        ge=1,
        description="first sampling timesteps that are looked at; none: a fifth of the sampling "
        "steps, as the authors' 10 of 50",
    )
    select_ratio: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="a weight is zeroed where it is chosen at more than this share of the "
        "timesteps; 0: at any",
    )
    images_per_prompt: int = Field(
        1, ge=1, description="starting latents that each prompt, the baseline too, is run from"
    )
    scope: Literal["global", "per_sample"] = Field(
        "global", description="one mask for all memorized prompts together, or one for each"
    )
    baseline: Literal["empty", "general"] = Field(
        "empty", description="what a score must exceed: the empty prompt's, or general captions'"
    )
    baseline_captions: int = Field(
        32, ge=1, description="number of general captions, drawn by lot, if they are the baseline"
    )
    batch_size: int = Field(8, ge=1, description="images sampled together; a matter of memory")


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `wanda`."""
    register(
        "wanda",
        "dorib_wanda.mitigation:Wanda",
        params=WandaParams,
        summary="zeroes feed-forward weights by magnitude times activation norm",
        card=MethodCard(
            title="Wanda for memorization",
            sentence="Sets feed-forward weights to zero that memorized captions "
            "lean on more than others do.",
            authors="Chavhan et al.",
            year=2024,
            paper="https://arxiv.org/abs/2406.18566",
            code="https://github.com/ruchikachavhan/concept-prune",
            family="pruning",
            access="captions",
        ),
    )
