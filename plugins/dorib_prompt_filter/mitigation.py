"""The mitigation: for each memorized prompt, a caption to ask with instead."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dorib import (
    DefenderView,
    DoribError,
    Edit,
    Ledger,
    Mitigation,
    PlannedFit,
    SamplingRule,
    Scale,
    Seeds,
    TargetModel,
)
from dorib_prompt_filter import FilterRuleParams, PromptFilterParams
from dorib_prompt_filter.rule import plain


class PromptFilter(Mitigation[PromptFilterParams]):
    """Knows the memorized prompts and draws a general caption for each, once and for all."""

    def planned(self, scale: Scale) -> PlannedFit:
        """Nothing: the model is not run."""
        return PlannedFit(rules=("prompt-filter",))

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """The rule `prompt-filter`; the model is not run.

        Raises:
            DoribError: there is no general caption but the memorized prompts.
        """
        known = {plain(target.caption) for target in view.memorized}
        captions = [caption for caption in view.general_captions if plain(caption) not in known]
        if not captions:
            raise DoribError(
                "mitigation prompt-filter: the suite has no general caption to ask with in place "
                "of a memorized prompt; add one that is not memorized"
            )
        substitutes = {
            target.caption: _draw(captions, seeds.generator(target.sample))
            for target in view.memorized
        }
        params = FilterRuleParams(substitutes=substitutes)
        return Edit(SamplingRule("prompt-filter", params.model_dump(mode="json")))


def _draw(captions: Sequence[str], generator: torch.Generator) -> str:
    return captions[int(torch.randint(len(captions), (), generator=generator))]
