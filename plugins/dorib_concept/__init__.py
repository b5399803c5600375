"""Concept erasure turned on memorized captions: what they ask for becomes something else.

UCE (Gandikota et al. 2024, arXiv 2308.14761): a closed form over the maps that cross-attention
reads captions with.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib import Params, Register, hookimpl

dorib_contract = 2


class ConceptParams(Params):
    """How the memorized captions are erased. As given here: UCE, with all tokens of a caption."""

    method: Literal["uce"] = Field("uce", description="uce: a closed form, without a U-Net pass")
    anchor: Literal["empty", "general"] = Field(
        "empty",
        description="what an erased caption is read as: no prompt, or a general one, by lot",
    )
    tokens: Literal["all", "last"] = Field(
        "all",
        description="which of a caption's vectors are moved and kept: all that the U-Net reads, or "
        "(compat) that of its last word alone",
    )
    erase_scale: float = Field(
        1.0, gt=0, le=1e9, description="weight of the erased captions; published: 1"
    )
    preserve: int = Field(
        100, ge=0, description="general captions, chosen by lot, whose reading is to stay"
    )
    preserve_scale: float = Field(
        1.0, gt=0, le=1e9, description="weight of the captions that stay; published: 1"
    )
    ridge: float = Field(
        0.5,
        gt=0,
        le=1e9,
        description="weight of the distance from the model's own maps; published: 0.5",
    )


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `concept`."""
    register(
        "concept",
        "dorib_concept.mitigation:Concept",
        params=ConceptParams,
        summary="erases what memorized captions ask for, as a concept: UCE",
    )
