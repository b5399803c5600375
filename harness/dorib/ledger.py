"""The work that a fit, a search or a generation cost, in U-Net items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Ledger:
    """Counts U-Net work: one item forward is 1, backward 2 more.

    The target model writes here through module and autograd hooks; nobody else needs to.
    `on_work` hears of each increment (a progress bar, say).
    """

    forward_items: int = 0
    backward_items: int = 0
    on_work: Callable[[int], None] | None = field(default=None, repr=False)

    @property
    def work(self) -> int:
        """Total work in U-Net items."""
        return self.forward_items + 2 * self.backward_items

    def add_forward(self, items: int) -> None:
        """Count `items` rows of a U-Net forward pass."""
        self.forward_items += items
        if self.on_work is not None:
            self.on_work(items)

    def add_backward(self, items: int) -> None:
        """Count `items` rows of a U-Net backward pass."""
        self.backward_items += items
        if self.on_work is not None:
            self.on_work(2 * items)
