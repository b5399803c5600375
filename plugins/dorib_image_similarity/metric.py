"""The metric: each image beside its originals, and beside the unmitigated model's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from dorib import DoribError, Generation, Measured, Metric, Quantity, SuiteView
from dorib_image_similarity import ImageSimilarityParams
from dorib_image_similarity.structure import K1, K2, SIGMA, WINDOW, ms_ssim, weights_for

SIMILARITY = "MS-SSIM"
DISTANCE = "root mean square of value differences, values in [0, 1]"


class ImageSimilarity(Metric[ImageSimilarityParams]):
    """MS-SSIM and pixel distance to the nearest original, and to the unmitigated model's image.

    Of several originals each measure takes its own nearest. Both look at pixels in place: they
    tell a verbatim copy and are blind to a shifted or recoloured one, which SSCD sees.
    """

    needs = frozenset({"generations", "twin"})
    quantities: ClassVar[dict[str, Quantity]] = {
        "ms_ssim_original": Quantity(SIMILARITY, "lower is better", "image"),
        "pixel_distance_original": Quantity(DISTANCE, "higher is better", "image"),
        # To differ is what a mitigation wants on memorized prompts, and damage on any other.
        "ms_ssim_twin": Quantity(SIMILARITY, "neither", "image"),
        "pixel_distance_twin": Quantity(DISTANCE, "neither", "image"),
    }

    def __init__(self, params: ImageSimilarityParams) -> None:
        super().__init__(params)
        self._weights: tuple[float, ...] = ()

    def prepare(self, suite: SuiteView, device: torch.device) -> None:
        """Choose the scales that the suite's images have room for.

        Raises:
            DoribError: they have room for none.
        """
        sampling = suite.sampling
        self._weights = weights_for(sampling.height, sampling.width)
        if not self._weights:
            raise DoribError(
                f"metric image-similarity: images of {sampling.height} x {sampling.width} px are "
                f"smaller than MS-SSIM's window of {WINDOW} px; leave the metric out"
            )

    def stack(self) -> dict[str, str | float | None]:
        """The settings of MS-SSIM; images are compared as they are, without resizing."""
        if not self._weights:
            raise RuntimeError("prepare comes before stack")
        return {
            "ms_ssim_scales": float(len(self._weights)),
            "ms_ssim_weights": ", ".join(f"{weight:.6g}" for weight in self._weights),
            "ms_ssim_window": f"Gaussian, {WINDOW} px, standard deviation {SIGMA} px",
            "ms_ssim_constants": f"k1 = {K1}, k2 = {K2}, data range 1",
            "resize": "none",
        }

    def measure(self, generations: Sequence[Generation]) -> Iterator[Sequence[Measured]]:
        """The values of each generation, in order."""
        for generation in generations:
            yield [*self._to_originals(generation), *self._to_twins(generation)]

    def _to_originals(self, generation: Generation) -> Iterator[Measured]:
        originals = generation.originals
        for seed, image in zip(generation.seeds, generation.images, strict=True):
            if len(originals):
                copies = image.expand_as(originals)
                likest = ms_ssim(copies, originals, self._weights).max().item()
                yield Measured("ms_ssim_original", likest, seed)
                nearest = pixel_distance(copies, originals).min().item()
                yield Measured("pixel_distance_original", nearest, seed)

    def _to_twins(self, generation: Generation) -> Iterator[Measured]:
        if generation.twins is None:
            return
        likeness = ms_ssim(generation.images, generation.twins, self._weights).tolist()
        distances = pixel_distance(generation.images, generation.twins).tolist()
        for seed, like, distance in zip(generation.seeds, likeness, distances, strict=True):
            yield Measured("ms_ssim_twin", like, seed)
            yield Measured("pixel_distance_twin", distance, seed)


def pixel_distance(first: Tensor, second: Tensor) -> Tensor:
    """Root mean square difference `[B]` of pairs of images `[B, 3, H, W]`, over all values."""
    return (first.double() - second.double()).square().mean(dim=(1, 2, 3)).sqrt()
