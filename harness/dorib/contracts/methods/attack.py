"""Attacks: what searches for a way to make a model replicate an image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from dorib.contracts.methods.base import Method, P

if TYPE_CHECKING:
    from dorib.contracts.ledger import Ledger
    from dorib.contracts.methods.planned import PlannedSearch, Scale
    from dorib.contracts.methods.rule import Place
    from dorib.contracts.seeds import Seeds
    from dorib.contracts.target_model import TargetModel
    from dorib.contracts.triggers import Trigger
    from dorib.contracts.views import Target

Knowledge = Literal[
    "original image",
    "prompt",
    "gradients",
    "embeddings",
    "tokens",
    "initial noise",
    "weights",
    "edit",
]


class Attack(Method[P]):
    """Searches for a way to make a (mitigated) model replicate an image."""

    knows: ClassVar[frozenset[Knowledge]]
    """The threat model: what the attacker holds."""
    searches: ClassVar[bool] = True
    """False where nothing is searched, so that no budget applies."""
    feels: ClassVar[frozenset[Place]] = frozenset({"embeddings", "attention"})
    """Places of a sampling rule that its search is led by: those two are in the model's losses; one
    that samples images feels all. A rule that acts elsewhere alone is not in force while it
    searches: the search is not adaptive, which the entry says."""
    sees_others: ClassVar[bool] = False
    """Whether each target comes with the suite's other samples, `others`; what the attack finds
    then depends on them."""
    replays: ClassVar[str | None] = None
    """The role in `builds_on` of the attack whose triggers for the unmitigated model this one is
    handed, in each target's `found`."""

    def planned(self, scale: Scale, budget: int) -> PlannedSearch | None:
        """What the search for one target will cost if `budget` is the largest.

        For `dorib run --plan`; None where it cannot be said before: it is the budget at most.

        Raises:
            DoribError: `budget` is too small for a single step.
        """
        return None

    @abstractmethod
    def search(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        budgets: Sequence[int],
        seeds: Seeds,
        ledger: Ledger,
    ) -> Iterator[Trigger]:
        """Yield one trigger for each target, restart and budget, each when its budget is spent.

        The host counts the work at that moment; a trigger that comes after more than its budget is
        refused.

        `model` carries the edit already. `seeds.generator(target.sample, restart)` is an item's
        own randomness, so that no result depends on the batch it was found in. `budgets` rise
        strictly; each is the work allowed for one target, all restarts together.

        Raises:
            DoribError: a budget is too small for a single step.
        """
