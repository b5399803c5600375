"""The mitigation: memorized captions are read as other ones."""

from __future__ import annotations

from dorib import DefenderView, Edit, Ledger, Mitigation, Seeds, TargetModel
from dorib_concept import ConceptParams
from dorib_concept.closed_form import unified_concept_edit


class Concept(Mitigation[ConceptParams]):
    """Takes each memorized caption for a concept that the model is to forget.

    What is changed hangs on captions: an image that answers to other words is not looked at. SDXL's
    pooled embedding stays.
    """

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """New U-Net weights.

        Raises:
            DoribError: the suite has no general captions, and some are asked for.
        """
        return unified_concept_edit(self.params, model, view, seeds)
