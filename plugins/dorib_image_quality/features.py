"""What images are compared by: a CLIP's embeddings, or Inception's pooled features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeAlias, TypeVar

import torch
from torch import Tensor

from dorib import SuiteView, clip_sha256, clip_source, model_name
from dorib_image_quality import ImageQualityParams, clip, inception

T = TypeVar("T")
Embed: TypeAlias = Callable[[Sequence[Tensor]], Tensor]
"""From RGB images `[3, H, W]` of any sizes, float32 in [0, 1] on the CPU, to features `[B, D]`."""


@dataclass(frozen=True)
class Features:
    """A loaded network, and everything that its features depend on."""

    embed: Embed
    space: Literal["clip", "inception"]
    model: str
    weights_sha256: str
    preprocessing: str

    def of(self, images: Iterable[Tensor], batch_size: int) -> Tensor:
        """Features `[B, D]`, float64 on the CPU, computed in batches.

        Raises:
            ValueError: a feature is not finite.
        """
        parts = [self.embed(batch).cpu().double() for batch in batches(images, batch_size)]
        features = torch.cat(parts)
        if not features.isfinite().all():
            raise ValueError("a feature is not finite; the images or the weights are damaged")
        return features


def load(params: ImageQualityParams, suite: SuiteView, device: torch.device) -> Features:
    """The features that `params` ask for.

    Raises:
        DoribError: the network is missing, is another file, or cannot be used.
    """
    if params.features == "clip":
        source = clip_source(params.model, suite, clip.METRIC)
        model, processor = clip.load(source, device)
        return Features(
            clip.embedder(model, processor),
            "clip",
            model_name(params.model),
            clip_sha256(model, clip.IMAGE_SIDE),
            clip.preprocessing(processor),
        )
    path = inception.path_of(params.weights)
    network, sha256 = inception.load(path, device)
    return Features(
        inception.embedder(network, device),
        "inception",
        inception.NAME,
        sha256,
        inception.PREPROCESSING,
    )


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """`items` in lists of `size`, read as they are asked for."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
