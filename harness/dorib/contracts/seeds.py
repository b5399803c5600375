"""Explicit randomness: one generator for each named item, never the global one."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from dorib.errors import DoribError
from dorib.reprs import own_fields

if TYPE_CHECKING:
    import torch

    _Hash = hashlib._Hash

_PREAMBLE = 24
"""Bytes before the words of a Mersenne twister in the state of torch's CPU generator."""
_WORDS = 624
_WORD_BYTES = 8
"""Of which the low four are used."""


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
        """A CPU generator for one item, so that every device starts from the same noise.

        All 63 bits of its seed decide. `manual_seed` alone takes the low 32, so that among some
        ten thousands of items two would share their noise; here the state is what numpy's
        `SeedSequence` makes of them, as for a Mersenne twister of numpy's own.

        Raises:
            DoribError: this torch keeps the state of its generators in another form.
        """
        import numpy as np
        import torch

        _require_known_layout()
        seed = self.integer(*names)
        generator = torch.Generator("cpu").manual_seed(seed)
        words = np.random.SeedSequence(seed).generate_state(_WORDS, np.uint32)
        # The twister would stay in a state of zeros; of this word it uses no other bit.
        words[0] = 0x80000000
        state = generator.get_state()
        _words_of(state).copy_(torch.from_numpy(words.astype(np.int64)))
        return generator.set_state(state)

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


def _words_of(state: torch.Tensor) -> torch.Tensor:
    """The twister's words in the state of a generator of torch: a view, `[624]`, int64."""
    import torch

    return state[_PREAMBLE : _PREAMBLE + _WORDS * _WORD_BYTES].view(torch.int64)


@cache
def _require_known_layout() -> None:
    """See that torch's words lie where they are written to, and are what numbers are drawn from.

    A seed of 32 bits gives torch's twister the words of numpy's oldest one, and the same numbers.

    Raises:
        DoribError: they do not, or it does not.
    """
    import numpy as np
    import torch

    seed, other = 5, 7
    generator = torch.Generator("cpu").manual_seed(seed)
    expected = torch.randint(2**31, (4,), generator=torch.Generator("cpu").manual_seed(other))
    state = generator.get_state()
    with suppress(RuntimeError):
        twisters = [np.random.RandomState(of).get_state(legacy=False) for of in (seed, other)]
        before, after = (torch.from_numpy(t["state"]["key"].astype(np.int64)) for t in twisters)
        words = _words_of(state)
        if torch.equal(words, before):
            words.copy_(after)
            generator.set_state(state)
            if torch.equal(torch.randint(2**31, (4,), generator=generator), expected):
                return
    raise DoribError(
        f"torch {torch.__version__}: its generators keep their state in another form than is known "
        "here, so that no noise can be drawn; install a version that dorib was tested with"
    )
