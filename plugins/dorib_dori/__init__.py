"""Dori (Kowalczuk et al., arXiv 2507.16880): search a text embedding that replicates an image."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib import Params, Register, hookimpl

dorib_contract = 1


class DoriParams(Params):
    """How Dori searches; the learning rate and the pairs a step are as recalled from the paper."""

    start: Literal["prompt", "other", "random"] = Field(
        "prompt",
        description="where the search starts: the sample's own prompt, the caption of another "
        "image, or Gaussian noise with the mean and the standard deviation of all entries of the "
        "prompt's embedding",
    )
    learning_rate: float = Field(0.1, gt=0, description="step size of Adam")
    pairs: int = Field(8, ge=1, description="(timestep, noise) pairs averaged in each step")
    restarts: int = Field(1, ge=1, description="independent searches that share a budget")


@hookimpl
def register_attacks(register: Register) -> None:
    """Bring `dori`."""
    register(
        "dori",
        "dorib_dori.attack:Dori",
        params=DoriParams,
        summary="optimises the text embedding on the denoising loss of the original image",
    )
