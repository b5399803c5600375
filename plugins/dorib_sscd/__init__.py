"""SSCD (Pizzi et al., CVPR 2022, arXiv 2202.10261): does an image replicate an original?"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from dorib import FileParam, MethodCard, Params, Register, hookimpl

dorib_contract = 2

OFFICIAL_SHA256 = "9f26bd4c848cc19b73d2ae92eea6e04886f61a7b764ceb7a13aeee62e6a6db56"
"""Of `sscd_disc_mixup.torchscript.pt`, on which the public projects that pin it agree."""


class SscdParams(Params):
    """Which descriptor judges, and what it calls a replica."""

    backend: Literal["suite", "torchscript", "onnx"] = Field(
        "suite",
        description="the suite's own descriptor, a TorchScript file (the official weights), or an "
        "ONNX export",
    )
    path: FileParam | None = Field(
        None,
        description="file of the torchscript or onnx backend; none: the official TorchScript file "
        "in the user's cache",
    )
    sha256: str | None = Field(
        None,
        description="what the file must hash to; none: the official hash for torchscript, "
        "unchecked for onnx",
    )
    threshold: float | None = Field(
        None,
        gt=-1,
        le=1,
        description="cosine from which an image replicates; none: the suite's calibrated one, or "
        "0.7 for the official weights",
    )
    resize: Literal["short-edge-288", "square-320"] | None = Field(
        None,
        description="how images are resized for torchscript and onnx; none: short-edge-288; the "
        "suite's descriptor has its own rule",
    )
    download: bool = Field(
        False, description="fetch the official TorchScript file (99 MB) where it is missing"
    )
    batch_size: int = Field(32, ge=1, description="images described together; a matter of memory")

    @field_validator("sha256")
    @classmethod
    def _hexadecimal(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if len(value) != 64 or set(value.lower()) - set("0123456789abcdef"):
            raise ValueError("a sha256 is 64 hexadecimal digits (sha256sum prints them)")
        return value.lower()

    @model_validator(mode="after")
    def _consistent(self) -> SscdParams:
        if self.backend == "suite":
            given = {"path": self.path, "sha256": self.sha256, "resize": self.resize}
            idle = [name for name, value in given.items() if value is not None]
            if idle:
                raise ValueError(
                    f"{', '.join(idle)} does nothing with backend=suite; "
                    "choose backend=torchscript or backend=onnx"
                )
        if self.backend == "onnx" and self.path is None:
            raise ValueError("backend=onnx needs path=FILE.onnx")
        if self.download and not self.official:
            raise ValueError("download fetches the official TorchScript file and nothing else")
        if self.backend != "suite" and not self.official and self.threshold is None:
            raise ValueError(
                "a threshold is known for the official TorchScript file only; "
                "state threshold=... (0.7 for an export of the official weights)"
            )
        return self

    @property
    def official(self) -> bool:
        """Whether the official TorchScript file is meant, and will be held to its hash."""
        return self.backend == "torchscript" and self.sha256 in (None, OFFICIAL_SHA256)


class SscdAgreementParams(SscdParams):
    """The second descriptor; the first is the suite's own."""

    backend: Literal["torchscript", "onnx"] = Field(
        description="a TorchScript file (the official weights), or an ONNX export"
    )


@hookimpl
def register_metrics(register: Register) -> None:
    """Bring `sscd` and `sscd-agreement`."""
    register(
        "sscd",
        "dorib_sscd.metric:Sscd",
        params=SscdParams,
        summary="copy detection: likeness to the original, replicas, diversity",
        card=MethodCard(
            title="SSCD",
            sentence="Copy detection: is an image a copy of the original?",
            authors="Pizzi et al.",
            year=2022,
            paper="https://arxiv.org/abs/2202.10261",
            code="https://github.com/facebookresearch/sscd-copy-detection",
        ),
    )
    register(
        "sscd-agreement",
        "dorib_sscd.agreement:SscdAgreement",
        params=SscdAgreementParams,
        summary="a second descriptor beside the suite's: Cohen's kappa of what replicates",
        card=MethodCard(
            title="Agreement of two descriptors",
            sentence="Cohen's kappa between the suite's descriptor and a second one.",
            authors="Pizzi et al.",
            year=2022,
            paper="https://arxiv.org/abs/2202.10261",
        ),
    )
