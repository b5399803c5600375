"""FID, CLIP-FID and KID: how far a model's images lie from others as a distribution."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from dorib import FileParam, FolderParam, MethodCard, ModelParam, Params, Register, hookimpl

dorib_contract = 2


class ImageQualityParams(Params):
    """Which features are compared, and with which images."""

    features: Literal["clip", "inception"] = Field(
        "clip",
        description="image embeddings of a CLIP (CLIP-FID), or Inception-v3's pooled features (FID "
        "as published)",
    )
    model: ModelParam | None = Field(
        None,
        description="with clip: folder or hub id of a transformers CLIPModel; none: the suite's "
        "own, whose values are comparable within that suite only",
    )
    weights: FileParam | None = Field(
        None,
        description="with inception: the TorchScript file inception-2015-12-05.pt; none: the one "
        "in the user's cache",
    )
    reference: FolderParam | None = Field(
        None,
        description="folder of real images to compare with; none: the unmitigated model's images "
        "of the same prompts, which measures drift",
    )
    batch_size: int = Field(32, ge=1, description="images embedded together; a matter of memory")

    @model_validator(mode="after")
    def _consistent(self) -> ImageQualityParams:
        if self.features == "inception" and self.model is not None:
            raise ValueError("model does nothing with features=inception; give weights=FILE")
        if self.features == "clip" and self.weights is not None:
            raise ValueError("weights does nothing with features=clip; give model=FOLDER")
        return self


@hookimpl
def register_metrics(register: Register) -> None:
    """Bring `image-quality`."""
    register(
        "image-quality",
        "dorib_image_quality.metric:ImageQuality",
        params=ImageQualityParams,
        summary="FID, CLIP-FID and KID of the utility prompts' images",
        card=MethodCard(
            title="FID, CLIP-FID and KID",
            sentence="How far the utility prompts' images lie from the reference ones.",
            authors="Heusel et al.",
            year=2017,
            paper="https://arxiv.org/abs/1706.08500",
            code="https://github.com/GaParmar/clean-fid",
        ),
    )
