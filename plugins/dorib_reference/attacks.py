"""The reference attack: ask for the image in the words it was trained with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dorib import (
    Attack,
    Ledger,
    PlannedSearch,
    PlannedWork,
    Scale,
    Seeds,
    Target,
    TargetModel,
    Trigger,
)
from dorib_reference import ReferenceParams


class OwnPrompt(Attack[ReferenceParams]):
    """No search: each sample's own prompt is its trigger."""

    knows = frozenset({"prompt"})
    searches = False

    def planned(self, scale: Scale, budget: int) -> PlannedSearch:
        """Nothing is searched."""
        return PlannedSearch(PlannedWork())

    def search(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        budgets: Sequence[int],
        seeds: Seeds,
        ledger: Ledger,
    ) -> Iterator[Trigger]:
        """Yield the prompt itself for each target; `budgets` do not apply."""
        for target in targets:
            yield Trigger(target.sample, budget=0, prompt=target.caption)
