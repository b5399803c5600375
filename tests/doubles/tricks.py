"""Attacks that hide work, or change what they have yielded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from dorib import Ledger, Register, Seeds, Target, TargetModel, Trigger, hookimpl
from doubles.attacks import Double, forward

dorib_contract = 2


class HidesWork(Double):
    expected = "the sample index 999, which is that of none of its targets; use target.index"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        forward(model, replace(target, index=999), 8)
        return super().trigger(model, target, budget)


class ClearsTheLedger(Double):
    expected = "came after 40 U-Net items, and its budget is 24"

    def search(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        budgets: Sequence[int],
        seeds: Seeds,
        ledger: Ledger,
    ) -> Iterator[Trigger]:
        forward(model, targets[0], 40)
        ledger.forward_items.clear()
        yield from super().search(model, targets, budgets, seeds, ledger)


class WritesOn(Double):
    """Zeroes what it yielded at the smaller budgets: let through, and these keep their values."""

    expected = None

    def search(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        budgets: Sequence[int],
        seeds: Seeds,
        ledger: Ledger,
    ) -> Iterator[Trigger]:
        found = {name: value.clone() for name, value in self.embeddings(model).items()}
        for budget in budgets:
            for target in targets:
                yield Trigger(target.sample, budget, embeddings=found)
            for value in found.values():
                value.zero_()


DOUBLES: dict[str, type[Double]] = {
    "hides-work": HidesWork,
    "clears-the-ledger": ClearsTheLedger,
    "writes-on": WritesOn,
}


@hookimpl
def register_attacks(register: Register) -> None:
    for name, double in DOUBLES.items():
        register(name, f"{__name__}:{double.__name__}")
