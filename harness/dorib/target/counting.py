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

    @contextmanager
    def counting(self, ledger: Ledger) -> Iterator[None]:
        """Write the work done inside to `ledger`, and to any ledger around it."""
        self._ledgers.append(ledger)
        try:
            yield
        finally:
            self._ledgers.remove(ledger)

    def count(self, output: Tensor, samples: Tensor) -> None:
        """Count a forward pass that gave `output`, and its backward pass when that comes.

        `samples` are the sample indices of its items, int64 `[B]`.
        """
        if not self._ledgers:
            return
        ledgers, indices = list(self._ledgers), samples.tolist()
        for ledger in ledgers:
            ledger.add_forward(indices)
        if output.requires_grad:

            def count_backward(gradient: Tensor) -> None:
                for ledger in ledgers:
                    ledger.add_backward(indices)

            output.register_hook(count_backward)  # type: ignore[no-untyped-call]
