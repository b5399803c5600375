"""Many seeds of one caption, and the most typical image (Carlini et al., arXiv 2301.13188)."""

from __future__ import annotations

from pydantic import Field

from dorib import MethodCard, Params, Register, hookimpl

dorib_contract = 2


class SeedsParams(Params):
    """How images are drawn, told apart and handed in."""

    clique: int = Field(
        4,
        ge=2,
        description="size of the group of alike images, itself included, by which an image is "
        "judged typical; all that there are, where there are fewer",
    )
    strength: float = Field(
        0.3,
        gt=0,
        le=1,
        description="share of the sampling steps that are taken anew from the most typical image; "
        "1 keeps nothing of it",
    )


@hookimpl
def register_attacks(register: Register) -> None:
    """Bring `seeds`."""
    register(
        "seeds",
        "dorib_seeds.attack:FreshSeeds",
        params=SeedsParams,
        summary="draws many images of the caption and goes on from the most typical one",
        card=MethodCard(
            title="Many seeds",
            sentence="Draws many images of the caption and goes on from the most typical one.",
            authors="Carlini et al.",
            year=2023,
            paper="https://arxiv.org/abs/2301.13188",
        ),
    )
