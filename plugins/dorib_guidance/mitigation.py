"""The mitigation: nothing is fitted."""

from __future__ import annotations

from dorib import DefenderView, Edit, Ledger, Mitigation, SamplingRule, Seeds, TargetModel
from dorib_guidance import GuidanceParams


class Guidance(Mitigation[GuidanceParams]):
    """Knows no memorized prompt: every image is guided alike."""

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """The rule `guidance`; the model is not run."""
        return Edit(SamplingRule("guidance", self.params.model_dump(mode="json")))
