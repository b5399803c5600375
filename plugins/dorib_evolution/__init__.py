"""A gradient-free search over the text embedding, so that broken gradients pass for no erasure."""

from __future__ import annotations

from pydantic import Field

from dorib import EmbeddingSearchParams, MethodCard, Register, hookimpl

dorib_contract = 2


class EvolutionParams(EmbeddingSearchParams):
    """How the evolution strategy searches; the defaults come from a few trials on four dev samples.

    Its starts are those of Dori.
    """

    components: int = Field(
        64,
        ge=1,
        description="principal components of the general captions' embeddings that are searched; "
        "all of them where there are fewer",
    )
    mutation: float = Field(
        0.3,
        gt=0,
        description="standard deviation of a mutation, in each component's own standard deviations",
    )
    pairs: int = Field(6, ge=1, description="mutations tried in each step, with both signs")
    judging_pairs: int = Field(
        6, ge=1, description="(timestep, noise) pairs on which every step is accepted or refused"
    )
    step: float = Field(0.2, gt=0, description="length of the first step, in the mutations' unit")


@hookimpl
def register_attacks(register: Register) -> None:
    """Bring `evolution`."""
    register(
        "evolution",
        "dorib_evolution.attack:Evolution",
        params=EvolutionParams,
        summary="searches the text embedding without gradients, by an evolution strategy",
        card=MethodCard(
            title="Evolution strategy",
            sentence="Searches the text embedding without gradients, so that "
            "broken gradients pass for no erasure.",
            authors="Salimans et al.",
            year=2017,
            paper="https://arxiv.org/abs/1703.03864",
        ),
    )
