"""A walk through prompts that needs no original image (MemBench; Webster, arXiv 2305.08694)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib import MethodCard, Register, SearchParams, hookimpl

dorib_contract = 2


class PromptWalkParams(SearchParams):
    """How the walk goes."""

    score: Literal["magnitude", "one-step"] = Field(
        "magnitude",
        description="what is raised: the magnitude of the text-conditional noise prediction at "
        "the first sampling step (Wen et al.), or the error of an image made in one step (Webster)",
    )
    noises: int = Field(
        2, ge=1, description="initial noises, the same throughout, over which a score is averaged"
    )


@hookimpl
def register_attacks(register: Register) -> None:
    """Bring `prompt-walk`."""
    register(
        "prompt-walk",
        "dorib_prompt_walk.attack:PromptWalk",
        params=PromptWalkParams,
        summary="edits words of the caption by signs of memorization, without the original image",
        card=MethodCard(
            title="Prompt walk",
            sentence="Edits words of the caption by signs of memorization, without the original.",
            authors="Hong et al.",
            year=2024,
            paper="https://arxiv.org/abs/2407.17095",
        ),
    )
