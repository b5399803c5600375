"""The rule: which prompts are known, and what is asked in their place."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dorib import PromptRule, TargetModel
from dorib_prompt_filter import FilterRuleParams


class SubstituteKnownPrompts(PromptRule[FilterRuleParams]):
    """Asks with another caption in place of a known prompt.

    Prompts are compared as a text encoder reads them that minds neither letters' case nor how
    words are spaced (CLIP's does not), so that writing one in capitals is no way around the filter.
    """

    def __init__(self, params: FilterRuleParams) -> None:
        super().__init__(params)
        self._substitutes = {plain(k): caption for k, caption in params.substitutes.items()}

    def rewrite(
        self, model: TargetModel, prompts: Sequence[str], generators: Sequence[torch.Generator]
    ) -> list[str]:
        """The substitute for each known prompt, every other prompt as it stands."""
        return [self._substitutes.get(plain(prompt), prompt) for prompt in prompts]


def plain(prompt: str) -> str:
    """The words of a prompt in lower case, one space between them."""
    return " ".join(prompt.casefold().split())
