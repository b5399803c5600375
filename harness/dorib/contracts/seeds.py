"""Explicit randomness: one generator for each named item, never the global one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dorib.reprs import own_fields

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Seeds:
    """A tree of seeds: the same names give the same generator, whatever else is drawn.

    `scope` separates purposes ("fit", "search", "evaluation"), so that the evaluation noise is
    disjoint from anything a fit or a search has used.
    """

    root: int = 0
    scope: tuple[str, ...] = ()

    __repr__ = own_fields

    def child(self, *names: str | int) -> Seeds:
        """The branch for one purpose, method or item."""
        return Seeds(self.root, self.scope + tuple(str(name) for name in names))

    def integer(self, *names: str | int) -> int:
        """A number in [0, 2**63) fixed by the root, the scope and `names`."""
        path = "\x1f".join([str(self.root), *self.scope, *(str(name) for name in names)])
        return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") >> 1

    def generator(self, *names: str | int) -> torch.Generator:
        """A CPU generator for one item, so that every device starts from the same noise."""
        import torch

        return torch.Generator("cpu").manual_seed(self.integer(*names))
