"""Probes: what tells memorized samples from others without generating an image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from dorib.contracts.methods.attack import Knowledge
from dorib.contracts.methods.base import Method, P

if TYPE_CHECKING:
    from dorib.contracts.ledger import Ledger
    from dorib.contracts.methods.planned import PlannedWork, Scale
    from dorib.contracts.seeds import Seeds
    from dorib.contracts.target_model import TargetModel
    from dorib.contracts.views import Target


class Probe(Method[P]):
    """Scores each sample under an edit: the higher, the more it looks memorized.

    What is reported is how well the scores part memorized samples from controls (AUC), beside the
    same on the oracle.
    """

    knows: ClassVar[frozenset[Knowledge]]
    """What whoever probes holds."""

    def planned(self, scale: Scale) -> PlannedWork | None:
        """What one target will cost, for `dorib run --plan`; None where it cannot be said."""
        return None

    @abstractmethod
    def score(
        self, model: TargetModel, targets: Sequence[Target], seeds: Seeds, ledger: Ledger
    ) -> Sequence[float]:
        """One finite score for each target, in order.

        `model` carries the edit already. `seeds.generator(target.sample)` is a target's own
        randomness, so that no score depends on the batch it was made in.
        """
