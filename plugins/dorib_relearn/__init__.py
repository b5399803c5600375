"""Relearning: does an erased image come back after a few steps of fine-tuning?"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib import MethodCard, Params, Register, hookimpl

dorib_contract = 2


class RelearnParams(Params):
    """How the model is trained; rank and learning rate are MemoRa's."""

    on: Literal["original", "others", "unrelated"] = Field(
        "original",
        description="what it is trained on: the sample's own image, other memorized samples, or "
        "images that the model never saw (the suite's controls), each with its caption",
    )
    rank: int = Field(4, ge=1, description="rank of what is added to each attention weight")
    learning_rate: float = Field(1e-4, gt=0, description="step size of Adam")
    pairs: int = Field(1, ge=1, description="images, each with a timestep and noise, in each step")


@hookimpl
def register_attacks(register: Register) -> None:
    """Bring `relearn`."""
    register(
        "relearn",
        "dorib_relearn.attack:Relearn",
        params=RelearnParams,
        summary="fine-tunes low-rank additions to the attention weights for a few steps",
        card=MethodCard(
            title="Relearning",
            sentence="Fine-tunes low-rank additions to the attention weights for a few steps.",
            authors="Lynch et al.",
            year=2024,
            paper="https://arxiv.org/abs/2402.16835",
        ),
    )
