"""CLIP (Radford et al., arXiv 2103.00020): does an image follow its caption?"""

from __future__ import annotations

from pydantic import Field

from dorib import ModelParam, Params, Register, hookimpl

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
    )
