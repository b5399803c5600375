"""Searches for words: UnlearnDiffAtk (arXiv 2310.11868), and P4D (arXiv 2309.06135) with PEZ."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib import MethodCard, Register, SearchParams, hookimpl

dorib_contract = 2


class TokensParams(SearchParams):
    """How the tokens are searched; the defaults are UnlearnDiffAtk's."""

    optimiser: Literal["simplex", "projection"] = Field(
        "simplex",
        description="what is optimised: a distribution over the vocabulary for each token "
        "(simplex, UnlearnDiffAtk), or a vector that is moved to its nearest token's place "
        "(projection, P4D and PEZ)",
    )
    tokens: int = Field(5, ge=1, description="tokens that are searched; P4D has 16")
    beside: Literal["caption", "nothing"] = Field(
        "caption",
        description="what follows the tokens: the sample's caption (UnlearnDiffAtk), or nothing "
        "(P4D)",
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="step size; null: 0.01 for simplex, 0.1 for projection, as published",
    )
    weight_decay: float = Field(0.1, ge=0, description="weight decay")
    pairs: int = Field(4, ge=1, description="(timestep, noise) pairs averaged in each gradient")
    judging_pairs: int = Field(
        4, ge=1, description="(timestep, noise) pairs by which the best tokens so far are told"
    )


@hookimpl
def register_attacks(register: Register) -> None:
    """Bring `tokens`."""
    register(
        "tokens",
        "dorib_tokens.attack:TokenSearch",
        params=TokensParams,
        summary="searches words to put before the caption, by gradients",
        card=MethodCard(
            title="UnlearnDiffAtk",
            sentence="Searches words to put before the caption, on a relaxed simplex.",
            authors="Zhang et al.",
            year=2024,
            paper="https://arxiv.org/abs/2310.11868",
            code="https://github.com/OPTML-Group/Diffusion-MU-Attack",
        ),
        variants={
            "optimiser=projection": MethodCard(
                title="P4D",
                sentence="Searches words to put before the caption, projecting "
                "vectors on the vocabulary.",
                authors="Chin et al.",
                year=2024,
                paper="https://arxiv.org/abs/2309.06135",
                code="https://github.com/joycenerd/P4D",
            ),
        },
    )
