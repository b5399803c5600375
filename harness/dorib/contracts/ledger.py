"""The work that a fit, a search or a generation cost, in U-Net items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dorib.reprs import own_fields


@dataclass
class Ledger:
    """Counts U-Net work by sample index: one item forward is 1, backward 2 more.

    The target model writes here through module and autograd hooks, so that no method can forget
    to; methods may read it. `on_work` hears of each increment (a progress bar, say).
    """

    forward_items: Counter[int] = field(default_factory=Counter)
    backward_items: Counter[int] = field(default_factory=Counter)
    rule_items: Counter[int] = field(default_factory=Counter)
    """Work that a sampling rule itself asked for, in U-Net items; part of no budget."""
    stray: int = 0
    """Work of U-Net calls around the target model, which cannot be told apart by sample."""
    on_work: Callable[[int], None] | None = field(default=None, repr=False)

    __repr__ = own_fields

    @property
    def work(self) -> int:
        """Total work of all samples, in U-Net items."""
        return self.forward_items.total() + 2 * self.backward_items.total() + self.stray

    def work_of(self, index: int) -> int:
        """Work spent on one sample index, in U-Net items; stray work counts for each in full."""
        return self.forward_items[index] + 2 * self.backward_items[index] + self.stray

    @property
    def rule_work(self) -> int:
        """What sampling rules cost, for all samples, in U-Net items."""
        return self.rule_items.total()

    def rule_work_of(self, index: int) -> int:
        """What sampling rules cost for one sample index, in U-Net items."""
        return self.rule_items[index]

    def add_forward(self, samples: Sequence[int]) -> None:
        """Count a U-Net forward pass, one item for each sample index in `samples`."""
        self.forward_items.update(samples)
        if self.on_work is not None:
            self.on_work(len(samples))

    def add_backward(self, samples: Sequence[int]) -> None:
        """Count a U-Net backward pass, one item for each sample index in `samples`."""
        self.backward_items.update(samples)
        if self.on_work is not None:
            self.on_work(2 * len(samples))

    def add_rule(self, samples: Sequence[int], each: int) -> None:
        """Count a rule's own U-Net pass, `each` for every sample index in `samples`."""
        for sample in samples:
            self.rule_items[sample] += each

    def add_stray(self, work: int) -> None:
        """Count work of U-Net calls around the target model, in U-Net items."""
        self.stray += work
        if self.on_work is not None:
            self.on_work(work)
