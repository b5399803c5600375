"""CLIP (Radford et al., arXiv 2103.00020): does an image follow its caption?"""

from __future__ import annotations

from pydantic import Field

from dorib import MethodCard, ModelParam, Params, Register, hookimpl

dorib_contract = 2


class ClipParams(Params):
    """Which CLIP judges."""

    model: ModelParam | None = Field(
        None,
        description="folder or hub id of a transformers CLIPModel; none: the suite's own, whose "
        "text encoder is the pipeline's: one that is not is a better judge",
    )
    batch_size: int = Field(32, ge=1, description="images embedded together; a matter of memory")


@hookimpl
def register_metrics(register: Register) -> None:
    """Bring `clip`."""
    register(
        "clip",
        "dorib_clip.metric:Clip",
        params=ClipParams,
        summary="alignment of images with their captions, and with shuffled captions",
        card=MethodCard(
            title="CLIP score",
            sentence="How well an image follows its caption.",
            authors="Hessel et al.",
            year=2021,
            paper="https://arxiv.org/abs/2104.08718",
        ),
    )
