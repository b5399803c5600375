"""Tries random neighbours of the prompt's embedding, and keeps the best."""

from pydantic import Field

from dorib import EmbeddingSearchParams, Register, hookimpl

dorib_contract = 2


class ExampleAttackParams(EmbeddingSearchParams):
    """Where it starts and how often come with the base."""

    stride: float = Field(0.05, gt=0, description="standard deviation of a move")


@hookimpl
def register_attacks(register: Register) -> None:
    """Bring `example-attack`."""
    register(
        "example-attack",
        "dorib_example_attack.attack:ExampleAttack",
        params=ExampleAttackParams,
        summary="random moves in embedding space",
    )
