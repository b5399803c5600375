"""Starts sampling from a coarse version of the original image."""

from pydantic import Field

from dorib import Params, Register, hookimpl

dorib_contract = 2


class ImageStartParams(Params):
    """How much of the original the model is shown."""

    coarseness: int = Field(
        8, ge=1, description="the original is averaged over squares of so many pixels a side"
    )
    strength: float = Field(
        0.8, gt=0, le=1, description="share of the sampling steps that follow; 1 leaves noise alone"
    )


@hookimpl
def register_attacks(register: Register) -> None:
    """Bring `image-start`."""
    register(
        "image-start",
        "dorib_image_start.attack:ImageStartAttack",
        params=ImageStartParams,
        summary="the caption, and a coarse version of the original to start from",
    )
