"""Dori (Kowalczuk et al., arXiv 2507.16880): search a text embedding that replicates an image."""

from __future__ import annotations

from pydantic import Field

from dorib import EmbeddingSearchParams, MethodCard, Register, hookimpl

dorib_contract = 2


class DoriParams(EmbeddingSearchParams):
    """How Dori searches; learning rate and pairs a step are the paper's (third version)."""

    learning_rate: float = Field(0.1, gt=0, description="step size of Adam")
    pairs: int = Field(8, ge=1, description="(timestep, noise) pairs averaged in each step")


@hookimpl
def register_attacks(register: Register) -> None:
    """Bring `dori`."""
    register(
        "dori",
        "dorib_dori.attack:Dori",
        params=DoriParams,
        summary="optimises the text embedding on the denoising loss of the original image",
        card=MethodCard(
            title="Dori",
            sentence="Optimises a text embedding until the model draws the original again.",
            authors="Kowalczuk et al.",
            year=2025,
            paper="https://arxiv.org/abs/2507.16880",
            code="https://github.com/sprintml/finding_dori",
        ),
    )
