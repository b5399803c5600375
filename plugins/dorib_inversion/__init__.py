"""Textual inversion as an attack (Gal et al., arXiv 2208.01618; Pham et al., arXiv 2308.01508)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib import MethodCard, Register, SearchParams, hookimpl

dorib_contract = 2


class InversionParams(SearchParams):
    """How the word's vector is searched; learning rate and weight decay are those of Pham et al."""

    words: int = Field(1, ge=1, description="made-up words whose vectors are searched")
    beside: Literal["caption", "nothing"] = Field(
        "caption", description="what follows the made-up words: the sample's caption, or nothing"
    )
    learning_rate: float = Field(0.08, gt=0, description="step size of AdamW")
    weight_decay: float = Field(0.01, ge=0, description="weight decay of AdamW")
    pairs: int = Field(4, ge=1, description="(timestep, noise) pairs averaged in each step")


@hookimpl
def register_attacks(register: Register) -> None:
    """Bring `inversion`."""
    register(
        "inversion",
        "dorib_inversion.attack:Inversion",
        params=InversionParams,
        summary="optimises the vector of one made-up word, which the text encoder reads",
        card=MethodCard(
            title="Textual inversion",
            sentence="Optimises the vector of one made-up word, which the text encoder reads.",
            authors="Pham et al.",
            year=2023,
            paper="https://arxiv.org/abs/2308.01508",
        ),
    )
