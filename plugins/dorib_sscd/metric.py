"""The metric: cosines of descriptors, and what they say of a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import ClassVar

import torch
from torch import Tensor

from dorib import Generation, Measured, Metric, Quantity, SuiteView
from dorib_sscd import SscdParams, backends
from dorib_sscd.judging import Judge


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
        self._loaded: Judge | None = None

    def prepare(self, suite: SuiteView, device: torch.device) -> None:
        """Load the descriptor.

        Raises:
            DoribError: its file is missing, is another file, or cannot be used; or the suite has
                none.
        """
        self._loaded = Judge(backends.load(self.params, suite, device), self.params.batch_size)

    def stack(self) -> dict[str, str | float | None]:
        """What the cosines depend on, as `Descriptor.stack` has it."""
        return self._judge.descriptor.stack()

    def measure(self, generations: Sequence[Generation]) -> Iterator[Sequence[Measured]]:
        """The values of each generation, in order.

        Raises:
            ValueError: a descriptor is not finite.
        """
        judge = self._judge
        judge.describe_originals(generations)
        images = judge.describe([g.images for g in generations])
        twins = judge.describe([_or_none(g.twins, like=g.images) for g in generations])
        for generation, own, twin in zip(generations, images, twins, strict=True):
            yield [
                *_likeness(judge, generation, own),
                *_likeness_to_twins(generation, own, twin),
                *_diversity(own),
            ]

    @property
    def _judge(self) -> Judge:
        if self._loaded is None:
            raise RuntimeError("prepare comes before stack and measure")
        return self._loaded


def _likeness(judge: Judge, generation: Generation, own: Tensor) -> Iterator[Measured]:
    nearest = judge.likeness(generation, own)
    if not nearest:
        return
    for seed, cosine in zip(generation.seeds, nearest, strict=True):
        yield Measured("sscd_original", cosine, seed)
        yield Measured("replicates", float(judge.replicates(cosine)), seed)
    yield Measured("sscd_original_max", max(nearest))
    yield Measured("sscd_original_median", median(nearest))


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
