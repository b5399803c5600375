"""Metrics: what judges generations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from dorib.contracts.methods.base import Method, P

if TYPE_CHECKING:
    import torch

    from dorib.contracts.suite_view import SuiteView
    from dorib.contracts.views import Generation

Need = Literal["generations", "twin", "utility", "originals"]
Level = Literal["image", "sample", "cell"]
Direction = Literal["lower is better", "higher is better", "neither"]


@dataclass(frozen=True)
class Measured:
    """One value; `seed` None where it speaks of the sample as a whole."""

    metric: str
    value: float
    seed: int | None = None


@dataclass(frozen=True)
class Quantity:
    """What one metric name means."""

    unit: str
    direction: Direction
    level: Level
    in_table: bool = False
    """Whether it has a column in the run's table: its mean over the memorized samples at the
    largest budget or, where only utility prompts have it, over these."""


REPLICATES = "replicates"
"""1 where an image replicates the original, else 0: what memorization rates are made of."""
SECOND_REPLICATES = "replicates_second"
"""The same by a suite's second descriptor: what the entry sets beside the first's verdict."""
CLIP_ALIGNMENT = "clip_alignment"
"""How well an image goes with its caption: what utility is made of."""
RESERVED_QUANTITIES = frozenset({REPLICATES, SECOND_REPLICATES, CLIP_ALIGNMENT})
"""Names that entries' rates and ranks are made of: the built-in metrics' alone."""


class Metric(Method[P]):
    """Judges generations."""

    needs: ClassVar[frozenset[Need]]
    """"generations": of the samples; "utility": of the utility prompts; "twin": with each the
    unmitigated model's images beside it; "originals": of all memorized samples, in the suite's view
    (each generation has its own sample's without)."""
    quantities: ClassVar[dict[str, Quantity]]
    """Every name that `measure` may yield."""

    @abstractmethod
    def prepare(self, suite: SuiteView, device: torch.device) -> None:
        """Load what judging takes (weights, thresholds) before the first `measure`.

        Raises:
            DoribError: something needed is not at hand; says what and how to get it.
        """

    @abstractmethod
    def stack(self) -> dict[str, str | float | None]:
        """What the values depend on: weights' sha256, resize rule, normalisation, threshold.

        Callable after `prepare`; enters the fingerprint of every record.
        """

    @abstractmethod
    def measure(self, generations: Sequence[Generation]) -> Iterable[Sequence[Measured]]:
        """The values of each generation, in order.

        Not asked where every quantity is a cell's.
        """

    def measure_cell(self, generations: Iterable[Generation]) -> Iterable[Measured]:
        """Values that speak of all generations together, such as a distance of distributions.

        Asked where a quantity's level is "cell": once for the memorized samples under one attack at
        one budget, once for the controls, once for the utility prompts. `generations` are read
        one by one as they are asked for, so that no number of them fills the memory.
        """
        return ()
