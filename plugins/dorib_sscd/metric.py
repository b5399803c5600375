"""The metric: cosines of descriptors, and what they say of a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from dorib import Generation, Measured, Metric, Quantity, SuiteView
from dorib_sscd import SscdParams, backends
from dorib_sscd.descriptors import Descriptor


class Sscd(Metric[SscdParams]):
    """Likeness of generations to the originals, to the unmitigated model's, and to each other.

    A sample's nearest original counts. Where a generation has no originals, no likeness to them is
    given, so that the sample shows as one that could not be scored. `replicates` is what
    memorization_rate@k and replication_rate are computed from. Sources: Pizzi et al., arXiv
    2202.10261 (the descriptor); Hintersdorf et al., arXiv 2406.02366 (the quantities).
    """

    needs = frozenset({"generations", "twin"})
    quantities: ClassVar[dict[str, Quantity]] = {
        "sscd_original": Quantity("cosine", "lower is better", "image"),
        "replicates": Quantity("1 or 0", "lower is better", "image"),
        "sscd_original_max": Quantity("cosine", "lower is better", "sample"),
        "sscd_original_median": Quantity("cosine", "lower is better", "sample"),
        # Low is what a mitigation wants on memorized prompts, and damage on any other.
        "sscd_twin": Quantity("cosine", "neither", "image"),
        "diversity": Quantity("median pairwise cosine", "lower is better", "sample"),
    }

    def __init__(self, params: SscdParams) -> None:
        super().__init__(params)
        self._loaded: Descriptor | None = None
        self._originals: dict[str, Tensor] = {}

    def prepare(self, suite: SuiteView, device: torch.device) -> None:
        """Load the descriptor.

        Raises:
            DoribError: its file is missing, is another file, or cannot be used; or the suite has
                none.
        """
        self._loaded = backends.load(self.params, suite, device)
        self._originals.clear()

    def stack(self) -> dict[str, str | float | None]:
        """What the cosines depend on; `false_positive_rate` None where it is not known.

        `official` is there where the official SSCD judges: entries then hold the rates at the
        literature's thresholds as well.
        """
        descriptor = self._descriptor
        return {
            "backend": descriptor.backend,
            "weights_sha256": descriptor.weights_sha256,
            "resize": descriptor.resize,
            "normalisation": descriptor.normalisation,
            "threshold": descriptor.threshold,
            "false_positive_rate": descriptor.false_positive_rate,
            # Left out for others, whose stack and records stay what they were.
            **({"official": "yes"} if descriptor.official else {}),
        }

    def measure(self, generations: Sequence[Generation]) -> Iterator[Sequence[Measured]]:
        """The values of each generation, in order.

        Raises:
            ValueError: a descriptor is not finite.
        """
        self._describe_originals(generations)
        images = self._describe([g.images for g in generations])
        twins = self._describe([_or_none(g.twins, like=g.images) for g in generations])
        for generation, own, twin in zip(generations, images, twins, strict=True):
            yield [
                *self._likeness(generation, own),
                *_likeness_to_twins(generation, own, twin),
                *_diversity(own),
            ]

    @property
    def _descriptor(self) -> Descriptor:
        if self._loaded is None:
            raise RuntimeError("prepare comes before stack and measure")
        return self._loaded

    def _likeness(self, generation: Generation, own: Tensor) -> Iterator[Measured]:
        originals = self._originals[generation.sample]
        if not len(originals) or not len(own):
            return
        nearest = (own @ originals.T).max(dim=1).values.tolist()
        for seed, cosine in zip(generation.seeds, nearest, strict=True):
            yield Measured("sscd_original", cosine, seed)
            yield Measured("replicates", float(cosine >= self._descriptor.threshold), seed)
        yield Measured("sscd_original_max", max(nearest))
        yield Measured("sscd_original_median", median(nearest))

    def _describe_originals(self, generations: Sequence[Generation]) -> None:
        new = {g.sample: g.originals for g in generations if g.sample not in self._originals}
        described = self._describe(list(new.values()))
        self._originals.update(zip(new, described, strict=True))

    def _describe(self, groups: Sequence[Tensor]) -> list[Tensor]:
        """Descriptors `[n, D]` of unit length, float64, of each group of images `[n, 3, H, W]`."""
        if not groups:
            return []
        images = torch.cat(list(groups))
        size = self._descriptor.largest_batch or self.params.batch_size
        parts = [self._descriptor.describe(p) for p in torch.split(images, size) if len(p)]
        # In float64 an image's cosine with itself is 1 to the last digits, and no value depends on
        # how many others are summed beside it.
        described = torch.cat(parts).double() if parts else torch.zeros(0, 1).double()
        if not described.isfinite().all():
            raise ValueError("a descriptor is not finite; the images or the weights are damaged")
        described = functional.normalize(described, dim=1)
        return list(torch.split(described, [len(group) for group in groups]))


def _likeness_to_twins(generation: Generation, own: Tensor, twins: Tensor) -> Iterator[Measured]:
    if generation.twins is None:
        return
    for seed, cosine in zip(generation.seeds, (own * twins).sum(dim=1).tolist(), strict=True):
        yield Measured("sscd_twin", cosine, seed)


def _diversity(own: Tensor) -> Iterator[Measured]:
    """Nothing for a single image."""
    rows, columns = torch.triu_indices(len(own), len(own), offset=1)
    if len(rows):
        yield Measured("diversity", median((own @ own.T)[rows, columns].tolist()))


def _or_none(images: Tensor | None, like: Tensor) -> Tensor:
    return like[:0] if images is None else images
