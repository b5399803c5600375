"""A gradient-free search over the text embedding, so that broken gradients pass for no erasure."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib import Params, Register, hookimpl

dorib_contract = 1


class EvolutionParams(Params):
    """How the evolution strategy searches; the defaults are as tuned on the tiny suite's dev split.

    Its starts are those of Dori.
    """

    start: Literal["prompt", "other", "random"] = Field(
        "prompt",
        description="where the search starts: the sample's own prompt, the caption of another "
        "image, or Gaussian noise with the mean and the standard deviation of all entries of the "
        "prompt's embedding",
    )
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
    learning_rate: float = Field(0.4, gt=0, description="step size of Adam, in the same unit")
    pairs: int = Field(8, ge=1, description="mutations tried in each step, with both signs")
    restarts: int = Field(1, ge=1, description="independent searches that share a budget")


@hookimpl
def register_attacks(register: Register) -> None:
    """Bring `evolution`."""
    register(
        "evolution",
        "dorib_evolution.attack:Evolution",
        params=EvolutionParams,
        summary="searches the text embedding without gradients, by an evolution strategy",
    )
