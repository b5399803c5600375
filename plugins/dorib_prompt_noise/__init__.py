"""Noise in the prompt: words or numbers put in, words repeated or left out.

Somepalli et al. 2023, "Understanding and Mitigating Copying in Diffusion Models" (arXiv
2305.20086): random word or number addition and word repetition, at inference time.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib import MethodCard, Params, Register, hookimpl

dorib_contract = 2


class PromptNoiseParams(Params):
    """What is done to each prompt, and how often."""

    kind: Literal["word", "number", "repeat", "drop"] = Field(
        "word",
        description="word: a random token of the vocabulary is put in; number: one from 0 to "
        "99999; repeat: one of the prompt's own words again; drop: one is left out",
    )
    count: int = Field(
        4, ge=0, le=64, description="how often; published: 1, 2, 4, 6, 8; 0 changes nothing"
    )


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `prompt-noise`."""
    register(
        "prompt-noise",
        "dorib_prompt_noise.mitigation:PromptNoise",
        params=PromptNoiseParams,
        summary="puts random words or numbers into each prompt, or repeats or drops words",
        card=MethodCard(
            title="Random token addition",
            sentence="Puts random words or numbers into each prompt, or repeats or drops words.",
            authors="Somepalli et al.",
            year=2023,
            paper="https://arxiv.org/abs/2305.20086",
            code="https://github.com/somepago/DCR",
            family="prompt",
            access="nothing",
        ),
    )


@hookimpl
def register_rules(register: Register) -> None:
    """Bring `prompt-noise`, the rule that the mitigation's edit names."""
    register(
        "prompt-noise",
        "dorib_prompt_noise.rule:NoisePrompts",
        params=PromptNoiseParams,
        summary="noise in each prompt, drawn anew for each image",
    )
