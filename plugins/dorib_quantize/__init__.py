"""Rounds the weights of a mitigated U-Net: does the image come back on a small device?"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib import MethodCard, MethodChoice, MethodSpec, Params, Register, hookimpl

dorib_contract = 2


class QuantizeParams(Params):
    """What is rounded, and how coarsely."""

    base: MethodChoice = Field(
        MethodSpec(name="none"), description="mitigation whose model is rounded; global ones only"
    )
    bits: Literal[4, 8] = Field(8, description="of each weight of linear layers and convolutions")


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `quantize`, a wrapper of other mitigations."""
    register(
        "quantize",
        "dorib_quantize.mitigation:Quantize",
        params=QuantizeParams,
        summary="another mitigation, its weights rounded to 8 or 4 bits",
        card=MethodCard(
            title="Quantised weights",
            sentence="Rounds the weights that another mitigation leaves to 8 or 4 bits.",
            authors="Dorna et al.",
            year=2025,
            paper="https://arxiv.org/abs/2506.12618",
            code="https://github.com/locuslab/open-unlearning",
            family="wrapper",
        ),
    )
