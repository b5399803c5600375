"""The mitigation: memorized captions are to ask for something else."""

from __future__ import annotations

from dorib import DefenderView, Edit, Ledger, Mitigation, Seeds, TargetModel
from dorib_concept import ConceptParams


class Concept(Mitigation[ConceptParams]):
    """Takes each memorized caption for a concept that the model is to forget.

    What is changed hangs on captions: an original is not looked at.
    """

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """New U-Net weights, or low-rank additions to them.

        Raises:
            DoribError: the suite has no general captions, and some are asked for; or the precision
                is not to be had.
            ArithmeticError: a loss is no longer finite.
        """
        if self.params.method == "uce":
            from dorib_concept.closed_form import unified_concept_edit

            return unified_concept_edit(self.params, model, view, seeds)
        from dorib_concept.fine_tuning import fine_tuned

        return fine_tuned(self.params, model, view, seeds, ledger)
