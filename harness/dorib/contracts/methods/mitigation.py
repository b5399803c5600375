"""Mitigations: what changes a model."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from dorib.contracts.methods.base import Method, P

if TYPE_CHECKING:
    from dorib.contracts.edits import Edit
    from dorib.contracts.ledger import Ledger
    from dorib.contracts.methods.planned import PlannedFit, Scale
    from dorib.contracts.params import Scope
    from dorib.contracts.seeds import Seeds
    from dorib.contracts.target_model import TargetModel
    from dorib.contracts.views import DefenderView


class Mitigation(Method[P]):
    """Changes a model so that it no longer gives memorized images away."""

    @property
    def scope(self) -> Scope:
        """Whether one edit serves all prompts, or each memorized sample has its own."""
        return "global"

    def prepare(self, model: TargetModel) -> None:
        """See that what the parameters name goes with `model`, before any work of the run.

        Not asked again once all was well: what `fit` needs it works out itself. The model is left
        as it was found.

        Raises:
            DoribError: it does not; says what and how to mend it.
        """

    def planned(self, scale: Scale) -> PlannedFit | None:
        """What one fit will cost, for `dorib run --plan`; None where it cannot be said before."""
        return None

    @abstractmethod
    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """Work out the edit; the model is left as it was found.

        A per-sample edit has a row for each of `view.memorized`, in that order.
        """
