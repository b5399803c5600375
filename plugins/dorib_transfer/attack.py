"""The attack: hand in what was found before the mitigation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from dorib import (
    Attack,
    Ledger,
    MethodSpec,
    PlannedSearch,
    PlannedWork,
    Scale,
    Seeds,
    Target,
    TargetModel,
    Trigger,
)
from dorib_transfer import TransferParams


class Transfer(Attack[TransferParams]):
    """Whether triggers of the unmitigated model still work on the mitigated one.

    `knows` says what the attacker holds of the model under attack: it is not searched, so no
    gradients are needed. The source holds whatever it needs of the unmitigated model.
    """

    knows = frozenset({"original image", "prompt", "embeddings"})
    replays = "source"

    def builds_on(self) -> Mapping[str, tuple[Literal["attack"], MethodSpec]]:
        """The attack whose triggers are replayed."""
        return {"source": ("attack", self.params.source)}

    def planned(self, scale: Scale, budget: int) -> PlannedSearch | None:
        """Nothing beside what the source costs, which is searched for first."""
        source = self.methods["source"]
        assert isinstance(source, Attack)
        found = source.planned(scale, budget)
        return None if found is None else replace(found, work=PlannedWork())

    def search(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        budgets: Sequence[int],
        seeds: Seeds,
        ledger: Ledger,
    ) -> Iterator[Trigger]:
        """Yield what the source found for each target at each budget; `work` is what it cost."""
        for target in targets:
            for budget in budgets:
                yield target.found[budget]
