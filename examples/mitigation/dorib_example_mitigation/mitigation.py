"""The mitigation."""

import torch

from dorib import DefenderView, Edit, Ledger, Mitigation, ScaleOutputs, Seeds, TargetModel
from dorib_example_mitigation import ExampleMitigationParams


class ExampleMitigation(Mitigation[ExampleMitigationParams]):
    """Scales the outputs of all cross-attention value layers by one factor."""

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """A global edit that depends on nothing but the factor."""
        layers = model.cross_attention_value_layers()
        scales = {
            name: torch.full((layer.out_features,), self.params.factor)
            for name, layer in layers.items()
        }
        return Edit(ScaleOutputs(scales))
