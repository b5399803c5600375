"""The metric: distances between distributions of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from dorib import Generation, Measured, Metric, Quantity, SuiteView
from dorib_image_quality import ImageQualityParams, references
from dorib_image_quality.distances import frechet_distance, kernel_distance
from dorib_image_quality.features import Features, batches, load

FRECHET = Quantity("squared Fréchet distance", "lower is better", "cell", in_table=True)
KERNEL = Quantity("squared maximum mean discrepancy", "lower is better", "cell")


class ImageQuality(Metric[ImageQualityParams]):
    """How far the images of the utility prompts lie from real ones, or from the unmitigated's.

    A Fréchet distance is biased by the number of images, and where there are no more of them than
    features the fitted Gaussians are degenerate: compare values of equal `images_compared` only.
    The kernel distance is unbiased at any number. Sources: Heusel et al., arXiv 1706.08500 (FID);
    Kynkäänniemi et al., arXiv 2203.06026 (CLIP-FID); Binkowski et al., arXiv 1801.01401 (KID).
    """

    needs = frozenset({"utility", "twin"})
    quantities: ClassVar[dict[str, Quantity]] = {
        "fid": FRECHET,
        "kid": KERNEL,
        "clip_fid": FRECHET,
        "clip_kid": KERNEL,
        "fid_to_unmitigated": FRECHET,
        "kid_to_unmitigated": KERNEL,
        "clip_fid_to_unmitigated": FRECHET,
        "clip_kid_to_unmitigated": KERNEL,
        "images_compared": Quantity("images", "neither", "cell"),
    }

    def __init__(self, params: ImageQualityParams) -> None:
        super().__init__(params)
        self._features: Features | None = None
        self._reference: Tensor | None = None
        self._stack: dict[str, str | float | None] = {}

    def prepare(self, suite: SuiteView, device: torch.device) -> None:
        """Load the network, and the features of the real images where a folder was given.

        Raises:
            DoribError: the network or the folder is missing, or cannot be used.
        """
        self._features = features = load(self.params, suite, device)
        sampling = suite.sampling
        blank = torch.full((3, sampling.height, sampling.width), 0.5)
        self._stack = {
            "features": features.space,
            "feature_dimensions": float(self._embed([blank]).shape[1]),
            "model": features.model,
            "weights_sha256": features.weights_sha256,
            "preprocessing": features.preprocessing,
            "reference": "the unmitigated model's images of the same prompts and seeds",
            "fid": "unbiased covariances; biased where images_compared is small, degenerate where "
            "it does not exceed feature_dimensions",
            "kid": "kernel (x.y / feature_dimensions + 1)^3, unbiased, all images at once, no "
            "random subsets",
        }
        if self.params.reference is not None:
            self._read_reference(self.params.reference.expanduser())

    def stack(self) -> dict[str, str | float | None]:
        """The feature space, its dimensions, and what the images are compared with."""
        if self._features is None:
            raise RuntimeError("prepare comes before stack")
        return dict(self._stack)

    def measure(self, generations: Sequence[Generation]) -> Iterator[Sequence[Measured]]:
        """Nothing of single images."""
        return (() for _ in generations)

    def measure_cell(self, generations: Iterable[Generation]) -> Iterator[Measured]:
        """The distances of all images together.

        Raises:
            ValueError: there are fewer than two images, or a feature is not finite.
        """
        own: list[Tensor] = []
        twins: list[Tensor] = []
        for batch in batches(generations, self.params.batch_size):
            own.append(self._embed([image for g in batch for image in g.images]))
            if self._reference is None:
                twins.append(self._embed([twin for g in batch for twin in _twins(g)]))
        images = torch.cat(own) if own else torch.zeros(0, 1)
        if len(images) < 2:
            raise ValueError(f"{len(images)} images make no distribution; at least two are needed")
        prefix = "clip_" if self.params.features == "clip" else ""
        if self._reference is None:
            suffix, other = "_to_unmitigated", torch.cat(twins)
        else:
            suffix, other = "", self._reference
        kernel = kernel_distance(images, other, paired=self._reference is None)
        yield Measured(f"{prefix}fid{suffix}", frechet_distance(images, other))
        yield Measured(f"{prefix}kid{suffix}", kernel)
        yield Measured("images_compared", float(len(images)))

    def _embed(self, images: Iterable[Tensor]) -> Tensor:
        if self._features is None:
            raise RuntimeError("prepare comes before measure")
        return self._features.of(images, self.params.batch_size)

    def _read_reference(self, folder: Path) -> None:
        files = references.image_files(folder)
        self._reference = self._embed(references.read(files))
        self._stack |= {
            "reference": f"real images: {folder.name}",
            "reference_images": float(len(files)),
            "reference_sha256": references.files_sha256(files),
        }


def _twins(generation: Generation) -> Tensor:
    if generation.twins is None:
        raise ValueError(f"{generation.sample} comes without the unmitigated model's images")
    return generation.twins
