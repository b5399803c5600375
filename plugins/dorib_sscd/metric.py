"""The metric: cosines of descriptors, and what they say of a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import ClassVar

import torch
from torch import Tensor

from dorib import Generation, Measured, Metric, Quantity, SuiteView
from dorib_sscd import SscdParams, backends
from dorib_sscd.judging import Judge, Verdict


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
        # By the suite's second descriptor, where it has one.
        "sscd_original_second": Quantity("cosine", "lower is better", "image"),
        "replicates_second": Quantity("1 or 0", "lower is better", "image"),
    }

    def __init__(self, params: SscdParams) -> None:
        super().__init__(params)
        self._first: Judge | None = None
        self._second: Judge | None = None

    def prepare(self, suite: SuiteView, device: torch.device) -> None:
        """Load the descriptor, and the suite's second one where it has one.

        Raises:
            DoribError: the file of one is missing, is another file, or cannot be used; or the suite
                has none.
        """
        size = self.params.batch_size
        self._first = Judge(backends.load(self.params, suite, device), size)
        second = backends.load_second(suite, device)
        self._second = Judge(second, size) if second else None

    def stack(self) -> dict[str, str | float | None]:
        """What the cosines depend on, as `Descriptor.stack` has it; the second's as `second_...`.

        `second_threshold` is there just where a second descriptor judges.
        """
        second = self._second.descriptor.stack() if self._second else {}
        own = self._judge.descriptor.stack()
        return own | {f"second_{name}": value for name, value in second.items()}

    def measure(self, generations: Sequence[Generation]) -> Iterator[Sequence[Measured]]:
        """The values of each generation, in order.

        Raises:
            ValueError: a descriptor is not finite.
        """
        images = self._judge.describe([g.images for g in generations])
        twins = self._judge.describe([_or_none(g.twins, like=g.images) for g in generations])
        first = self._judge.verdicts(generations, images)
        judged = zip(generations, images, twins, first, self._beside(generations), strict=True)
        for generation, own, twin, verdicts, beside in judged:
            yield [
                *_likeness(verdicts),
                *_likeness_to_twins(generation, own, twin),
                *_diversity(own),
                *(value for verdict in beside for value in _of_image(verdict, "_second")),
            ]

    def _beside(self, generations: Sequence[Generation]) -> list[list[Verdict]]:
        """The second judge's verdicts; none where there is no such judge."""
        if self._second is None:
            return [[] for _ in generations]
        described = self._second.describe([g.images for g in generations])
        return self._second.verdicts(generations, described)

    @property
    def _judge(self) -> Judge:
        if self._first is None:
            raise RuntimeError("prepare comes before stack and measure")
        return self._first


def _likeness(verdicts: Sequence[Verdict]) -> Iterator[Measured]:
    if not verdicts:
        return
    for verdict in verdicts:
        yield from _of_image(verdict)
    cosines = [verdict.cosine for verdict in verdicts]
    yield Measured("sscd_original_max", max(cosines))
    yield Measured("sscd_original_median", median(cosines))


def _of_image(verdict: Verdict, suffix: str = "") -> Iterator[Measured]:
    yield Measured(f"sscd_original{suffix}", verdict.cosine, verdict.seed)
    yield Measured(f"replicates{suffix}", float(verdict.replicates), verdict.seed)


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
