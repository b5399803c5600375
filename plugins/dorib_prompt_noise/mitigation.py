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
from dorib_prompt_noise import PromptNoiseParams


class PromptNoise(Mitigation[PromptNoiseParams]):
    """Knows no memorized prompt: every prompt gets noise, a harmless one too."""

    def planned(self, scale: Scale) -> PlannedFit:
        """Nothing: the model is not run."""
        return PlannedFit(rules=("prompt-noise",))

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """The rule `prompt-noise`; the model is not run."""
        return Edit(SamplingRule("prompt-noise", self.params.model_dump(mode="json")))
