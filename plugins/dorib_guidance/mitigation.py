"""The mitigation: nothing is fitted."""

from __future__ import annotations

from dorib import (
    DefenderView,
    Edit,
    Ledger,
    Mitigation,
    PlannedFit,
    SamplingRule,
    Scale,
    Seeds,
    TargetModel,
)
from dorib_guidance import GuidanceParams


class Guidance(Mitigation[GuidanceParams]):
    """Knows no memorized prompt: every image is guided alike."""

    def planned(self, scale: Scale) -> PlannedFit:
        """Nothing: the model is not run."""
        return PlannedFit(rules=("guidance",))

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """The rule `guidance`; the model is not run."""
        return Edit(SamplingRule("guidance", self.params.model_dump(mode="json")))
