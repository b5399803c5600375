"""Explicit randomness: one generator for each named item, never the global one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dorib.reprs import own_fields

if TYPE_CHECKING:
    import torch

    _Hash = hashlib._Hash


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

    def sealed(self) -> Seeds:
        """This branch without the way back: the same numbers, and neither root nor scope.

        What a plugin is handed, so that it cannot work out other branches from it: those that its
        own result will be judged by, say.
        """
        return _SealedSeeds(self._hashed())

    def integer(self, *names: str | int) -> int:
        """A number in [0, 2**63) fixed by the root, the scope and `names`."""
        return int.from_bytes(self._hashed(*names).digest()[:8], "big") >> 1

    def generator(self, *names: str | int) -> torch.Generator:
        """A CPU generator for one item, so that every device starts from the same noise."""
        import torch

        return torch.Generator("cpu").manual_seed(self.integer(*names))

    def _hashed(self, *names: str | int) -> _Hash:
        state = hashlib.sha256(str(self.root).encode())
        return _extended(state, *self.scope, *names)


class _SealedSeeds(Seeds):
    """A branch that knows only the hash of where it is."""

    def __init__(self, state: _Hash) -> None:
        super().__init__(root=-1)
        object.__setattr__(self, "_state", state)

    def __repr__(self) -> str:
        return "Seeds(sealed)"

    def child(self, *names: str | int) -> Seeds:
        """The branch for one purpose, method or item."""
        return _SealedSeeds(self._hashed(*names))

    def _hashed(self, *names: str | int) -> _Hash:
        state: _Hash = self.__dict__["_state"]
        return _extended(state.copy(), *names)


def _extended(state: _Hash, *names: str | int) -> _Hash:
    for name in names:
        state.update(f"\x1f{name}".encode())
    return state
