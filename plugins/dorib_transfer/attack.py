"""The attack: hand in what was found before the mitigation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from dorib import Attack, Ledger, MethodSpec, Seeds, Target, TargetModel, Trigger
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
