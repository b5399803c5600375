"""The mitigation: nothing is fitted, what was made elsewhere becomes the edit."""

from __future__ import annotations

from typing_extensions import override

from dorib import (
    DefenderView,
    Edit,
    Ledger,
    Mitigation,
    PlannedFit,
    Scale,
    Seeds,
    TargetModel,
)
from dorib_checkpoint import CheckpointParams
from dorib_checkpoint.forms import change_of


class Checkpoint(Mitigation[CheckpointParams]):
    """What a file or a folder changes in the suite's pipeline."""

    def planned(self, scale: Scale) -> PlannedFit:
        """Nothing: files are read."""
        return PlannedFit()

    @override
    def prepare(self, model: TargetModel) -> None:
        change_of(self.params.path, model, partial=self.params.partial)

    @override
    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """New weights, those alone that differ from the pipeline's, or low-rank changes."""
        return Edit(change_of(self.params.path, model, partial=self.params.partial))
