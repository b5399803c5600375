"""Agreement of a second descriptor with the suite's: do they call the same images replicas?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

import torch

from dorib import Generation, Measured, Metric, Quantity, SuiteView, cohens_kappa
from dorib_sscd import SscdAgreementParams, SscdParams, backends
from dorib_sscd.judging import Judge, Verdict


class SscdAgreement(Metric[SscdAgreementParams]):
    """A second descriptor beside the suite's, over the same images.

    Each decides by its own threshold. Cohen's kappa (Educational and Psychological Measurement
    20, 1960) is the agreement beyond chance: 1 where the two always agree, 0 where no more often
    than by chance. It is left out where both call all images the same, which it cannot judge.
    """

    needs = frozenset({"generations"})
    quantities: ClassVar[dict[str, Quantity]] = {
        "sscd_original_other": Quantity("cosine", "lower is better", "image"),
        "replicates_other": Quantity("1 or 0", "lower is better", "image"),
        "descriptor_agreement": Quantity("share of images", "higher is better", "cell"),
        "descriptor_kappa": Quantity("Cohen's kappa", "higher is better", "cell", in_table=True),
    }

    def __init__(self, params: SscdAgreementParams) -> None:
        super().__init__(params)
        self._loaded: tuple[Judge, Judge] | None = None

    def prepare(self, suite: SuiteView, device: torch.device) -> None:
        """Load both descriptors.

        Raises:
            DoribError: the file of one is missing, is another file, or cannot be used; or the
                suite has none.
        """
        size = self.params.batch_size
        own = backends.load(SscdParams.model_validate({"batch_size": size}), suite, device)
        self._loaded = Judge(own, size), Judge(backends.load(self.params, suite, device), size)

    def stack(self) -> dict[str, str | float | None]:
        """The stack of each descriptor."""
        suite, other = self._judges
        own = {f"suite_{name}": value for name, value in suite.descriptor.stack().items()}
        return own | {f"other_{name}": value for name, value in other.descriptor.stack().items()}

    def measure(self, generations: Sequence[Generation]) -> Iterator[Sequence[Measured]]:
        """What the second descriptor says of each generation, in order."""
        _, other = self._judges
        for verdicts in _verdicts(other, generations):
            yield [
                value
                for verdict in verdicts
                for value in (
                    Measured("sscd_original_other", verdict.cosine, verdict.seed),
                    Measured("replicates_other", float(verdict.replicates), verdict.seed),
                )
            ]

    def measure_cell(self, generations: Iterable[Generation]) -> Iterator[Measured]:
        """How the two agree over all images."""
        own: list[bool] = []
        other: list[bool] = []
        for generation in generations:
            for judge, found in zip(self._judges, (own, other), strict=True):
                [verdicts] = _verdicts(judge, [generation])
                found += [verdict.replicates for verdict in verdicts]
        if own:
            same = sum(a == b for a, b in zip(own, other, strict=True))
            yield Measured("descriptor_agreement", same / len(own))
        kappa = cohens_kappa(own, other)
        if kappa is not None:
            yield Measured("descriptor_kappa", kappa)

    @property
    def _judges(self) -> tuple[Judge, Judge]:
        """The suite's and the other."""
        if self._loaded is None:
            raise RuntimeError("prepare comes before stack and measure")
        return self._loaded


def _verdicts(judge: Judge, generations: Sequence[Generation]) -> list[list[Verdict]]:
    described = judge.describe([generation.images for generation in generations])
    return judge.verdicts(generations, described)
