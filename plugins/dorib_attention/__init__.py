"""Cross-attention turned away from the tokens that hold a memorized image.

Ren et al. 2024, "Unveiling and Mitigating Memorization in Text-to-image Diffusion Models through
Cross Attention" (arXiv 2403.11052): the begin token and padding. GUARD (arXiv 2603.00133): keys
that stand out, and repulsion from the plain prompt.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib import MethodCard, Params, Register, hookimpl

dorib_contract = 2


class AttentionParams(Params):
    """Which keys are attended to more, less or not at all. As given here: Ren et al."""

    begin_scale: float = Field(
        1.25,
        gt=0,
        le=20,
        description="what the begin token's attention is scaled by, as `form` says; 1 leaves it; "
        "published: 1.1 to 1.35",
    )
    mask_padding: bool = Field(
        True,
        description="no attention to tokens past the prompt's end; where the model is asked with "
        "embeddings, no end is known and nothing is masked",
    )
    spike_scale: float = Field(
        1.0,
        gt=0,
        le=1,
        description="what attention to keys that stand out is scaled by, as `form` says; 1 leaves "
        "them; published: 0.3",
    )
    spike_z: float = Field(
        0.1,
        ge=-10,
        le=10,
        description="a key stands out where its largest logit of a head lies above the mean over "
        "keys by so many standard deviations; published: 0.01, with repulsion 0.1",
    )
    spike_blocks: Literal["down-mid", "all"] = Field(
        "down-mid", description="the U-Net's blocks in which keys that stand out are scaled"
    )
    form: Literal["additive", "multiplicative"] = Field(
        "additive",
        description="additive: the scale's logarithm is added to logits, so that attention weights "
        "are scaled whatever the logit's sign; multiplicative (compat): logits are scaled, and a "
        "negative one moves the wrong way",
    )
    repulsion: float = Field(
        0.0,
        ge=0,
        le=20,
        description="guidance away from the prompt with plain attention, at the first step, "
        "falling to 0 like a quarter of a cosine; takes a third U-Net pass a step; 0: none; "
        "published: 2 to 3",
    )


@hookimpl
def register_mitigations(register: Register) -> None:
    """Bring `attention`."""
    register(
        "attention",
        "dorib_attention.mitigation:Attention",
        params=AttentionParams,
        summary="scales attention to the begin token or to keys that stand out, masks padding",
        card=MethodCard(
            title="Cross-attention masking",
            sentence="Gives the begin token more attention, and padding none.",
            authors="Ren et al.",
            year=2024,
            paper="https://arxiv.org/abs/2403.11052",
            code="https://github.com/renjie3/MemAttn",
            family="while sampling",
            access="nothing",
        ),
        variants={
            "spike_scale=0.3": MethodCard(
                title="GUARD",
                sentence="Gives keys that stand out less attention; as a whole guides away from "
                "the prompt with plain attention as well.",
                year=2026,
                paper="https://arxiv.org/abs/2603.00133",
                code="https://github.com/kairanzhao/GUARD",
                family="while sampling",
                access="nothing",
            ),
        },
    )


@hookimpl
def register_rules(register: Register) -> None:
    """Bring the rules that the mitigation's edit names, without and with repulsion."""
    register(
        "attention",
        "dorib_attention.rule:SteerAttention",
        params=AttentionParams,
        summary="cross-attention with other logits",
    )
    register(
        "attention-repulsion",
        "dorib_attention.rule:SteerAndRepel",
        params=AttentionParams,
        summary="the same, and guidance away from the prompt with plain attention",
    )
