"""Counting the U-Net's work as it is done, so that no method can forget to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from dorib.contracts.ledger import Ledger


class WorkCounter:
    """Writes each forward and backward pass to every ledger that is open at the forward."""

    def __init__(self) -> None:
        self._ledgers: list[Ledger] = []
        self.of_rule = False
        """Whether what is asked for now is asked for by a sampling rule."""

    @contextmanager
    def counting(self, ledger: Ledger) -> Iterator[None]:
        """Write the work done inside to `ledger`, and to any ledger around it."""
        self._ledgers.append(ledger)
        try:
            yield
        finally:
            # By identity: ledgers that hold the same numbers are equal.
            places = [i for i, other in enumerate(self._ledgers) if other is ledger]
            del self._ledgers[places[-1]]

    @contextmanager
    def counting_as_rule(self) -> Iterator[None]:
        """What is asked for inside is a sampling rule's own."""
        before, self.of_rule = self.of_rule, True
        try:
            yield
        finally:
            self.of_rule = before

    def count(self, output: Tensor, samples: Tensor | None) -> None:
        """Count a forward pass that gave `output`, and its backward pass when that comes.

        `samples` are the sample indices of its items, int64 `[B]`; None where the U-Net was called
        around the target model.
        """
        if not self._ledgers:
            return
        ledgers, of_rule = list(self._ledgers), self.of_rule
        indices = None if samples is None else samples.tolist()
        # Its length alone: a hook that holds the tensor it hangs on keeps it, and its graph, alive.
        items = len(output)

        def write(backward: bool) -> None:
            for ledger in ledgers:
                if indices is not None and of_rule:
                    ledger.add_rule(indices, 2 if backward else 1)
                elif indices is None:
                    ledger.add_stray(items * (2 if backward else 1))
                elif backward:
                    ledger.add_backward(indices)
                else:
                    ledger.add_forward(indices)

        write(backward=False)
        if output.requires_grad:

            def count_backward(gradient: Tensor) -> None:
                write(backward=True)

            output.register_hook(count_backward)  # type: ignore[no-untyped-call]
