"""The mitigation: nothing is fitted."""

from __future__ import annotations

from dorib import (
    DefenderView,
    DoribError,
    Edit,
    Ledger,
    Mitigation,
    PlannedFit,
    PlannedWork,
    SamplingRule,
    Scale,
    Seeds,
    TargetModel,
)
from dorib_attention import AttentionParams


class Attention(Mitigation[AttentionParams]):
    """Knows no memorized prompt: the model attends to every prompt so."""

    def planned(self, scale: Scale) -> PlannedFit:
        """Nothing; with repulsion each sampling step takes one pass more."""
        if self.params.repulsion:
            return PlannedFit(
                rules=("attention-repulsion",), rule_work=PlannedWork(forward=scale.timesteps)
            )
        return PlannedFit(rules=("attention",))

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """The rule `attention`, with repulsion `attention-repulsion`; the model is not run.

        Raises:
            DoribError: keys are to be scaled in blocks without cross-attention.
        """
        layers = model.cross_attention_value_layers()
        if self.params.spike_blocks == "down-mid" and self.params.spike_scale != 1:
            layers = {
                name: one for name, one in layers.items() if not name.startswith("up_blocks.")
            }
        if not layers:
            raise DoribError(
                "mitigation attention: this model's down and mid blocks have no cross-attention; "
                "set spike_blocks=all"
            )
        rule = "attention-repulsion" if self.params.repulsion else "attention"
        return Edit(SamplingRule(rule, self.params.model_dump(mode="json")))
