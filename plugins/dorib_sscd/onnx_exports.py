"""ONNX exports: what images one takes, and its session.

Two forms are in use: float images, channels first, normalised beforehand; and 8-bit images,
channels last, which the network normalises itself. Which one a file is stands in the type and the
shape of its input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dorib import DoribError, WeightsFile, one_line
from dorib_sscd.descriptors import Describe
from dorib_sscd.preprocessing import EIGHT_BIT, NORMALISATION, Resize, eight_bit, preprocess

CHANNELS = 3
FLOAT, BYTES = "tensor(float)", "tensor(uint8)"
FLOATS = (FLOAT, "tensor(float16)", "tensor(double)")
TAKEN = (
    "float images [batch, 3, height, width], normalised as ImageNet's, or uint8 images "
    "[batch, height, width, 3]"
)


@dataclass(frozen=True)
class Export:
    """An export that can judge."""

    describe: Describe
    sha256: str
    """Of the file."""
    normalisation: str
    largest_batch: int | None
    """Many exports have the batch of the image they were traced with; None: any number."""


def read_export(file: WeightsFile, rule: Resize) -> Export:
    """The network in `file`, for images that are resized by `rule`.

    Raises:
        DoribError: onnxruntime is missing, or the file is missing, is another one, or is no such
            network or one for other images.
    """
    session, sha256 = _session(file)
    path = file.path
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        raise _refused(path, f"has {len(inputs)} inputs")
    first = inputs[0]
    prepare, normalisation = _form(path, first.type, first.shape)
    if outputs[0].type not in FLOATS:
        raise DoribError(
            f"metric sscd: {path} gives {outputs[0].type}, whose scale nothing tells; give an "
            "export whose descriptors are floats"
        )

    def describe(images: Tensor) -> Tensor:
        found = session.run(None, {first.name: prepare(images, rule).numpy()})[0]
        return torch.from_numpy(found).float()

    largest = first.shape[0] if isinstance(first.shape[0], int) else None
    return Export(describe, sha256, normalisation, largest)


def _form(
    path: Path, kind: str, shape: list[int | str | None]
) -> tuple[Callable[[Tensor, Resize], Tensor], str]:
    """How images are prepared for an input of this type and shape, and what normalises them."""
    fixed = [size if isinstance(size, int) else None for size in shape]
    takes = f"takes {kind} of shape {one_line(str(shape), 80)}"
    if len(fixed) != 4:
        raise _refused(path, takes)
    if kind == FLOAT and fixed[1] in (CHANNELS, None) and fixed[3] != CHANNELS:
        return preprocess, NORMALISATION
    if kind == BYTES and fixed[3] == CHANNELS and fixed[1] != CHANNELS:
        return eight_bit, EIGHT_BIT
    raise _refused(path, takes)


def _refused(path: Path, problem: str) -> DoribError:
    return DoribError(f"metric sscd: {path} {problem}; give an export that takes {TAKEN}")


def _session(file: WeightsFile) -> tuple[Any, str]:
    """What runs the network, and the file's sha256."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DoribError(
            "metric sscd: backend=onnx needs onnxruntime; install it with "
            "`pip install 'dorib[onnx]'`"
        ) from error
    content, sha256 = file.read()
    # onnxruntime's errors share no narrower base class.
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise DoribError(
            f"metric sscd: {file.path} cannot be loaded as ONNX ({one_line(error)}); give an "
            "export in one file, its weights included"
        ) from error
    return session, sha256
