"""The mitigation: memorized captions are to ask for something else."""

from __future__ import annotations

from dorib import (
    DefenderView,
    Edit,
    Ledger,
    Mitigation,
    PlannedFit,
    PlannedWork,
    Scale,
    Seeds,
    TargetModel,
)
from dorib_concept import ConceptParams

WORK_PER_GRADIENT = 3
"""One item through the U-Net forward (1) and backward (2)."""


class Concept(Mitigation[ConceptParams]):
    """Takes each memorized caption for a concept that the model is to forget.

    What is changed hangs on captions: an original is not looked at.
    """

    def planned(self, scale: Scale) -> PlannedFit:
        """Nothing for `uce`; else the pictures, the steps, and what they are led towards."""
        p = self.params
        if p.method == "uce":
            return PlannedFit()
        drawn = PlannedWork(forward=p.pictures * scale.memorized * scale.image)
        lessons = p.steps_per_caption * scale.memorized * p.gradient_accumulation * p.batch_size
        asked = PlannedWork(gradient=lessons * WORK_PER_GRADIENT)
        if p.method == "esd":
            # The untouched model's outputs, with the caption and without.
            return PlannedFit(drawn + PlannedWork(forward=2 * lessons) + asked)
        anchored = asked if p.prior_weight > 0 else PlannedWork(forward=lessons)
        return PlannedFit(drawn + anchored + asked)

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
