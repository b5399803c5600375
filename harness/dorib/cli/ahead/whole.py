"""How far a run has come as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

PART_THAT_TELLS = 0.05
"""Share of a run after which its own pace says more than what was expected."""


@dataclass
class Whole:
    """How far a run has come, all its verbs together, by what each was expected to take."""

    expected: Mapping[tuple[str, str], float]
    """By verb and subject; in seconds, or in proportion."""
    in_seconds: bool
    clock: Callable[[], float]
    _done: float = field(default=0.0, init=False)
    _at_work: dict[tuple[str, str], float] = field(default_factory=dict, init=False)
    """Of what is at work, the share that is done."""

    def __post_init__(self) -> None:
        self._started = self.clock()
        self._to_come = dict(self.expected)

    @property
    def total(self) -> float:
        """Of all verbs."""
        return sum(self.expected.values())

    @property
    def done(self) -> float:
        """As far as the verbs have come."""
        shares = self._at_work.items()
        return self._done + sum(share * self._to_come.get(verb, 0.0) for verb, share in shares)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock() - self._started

    @property
    def left(self) -> float | None:
        """Seconds to go; None where nothing tells yet.

        At the pace so far, once that rests on a part of the run that is worth it.
        """
        done, total = self.done, self.total
        if done >= PART_THAT_TELLS * total > 0:
            return self.elapsed * (total - done) / done
        return max(0.0, total - done) if self.in_seconds else None

    def advance(self, verb: str, subject: str, share: float) -> None:
        """So much of a verb's work is done, from 0 to 1."""
        self._at_work[verb, subject] = min(1.0, share)

    def end(self, verb: str, subject: str) -> None:
        """A verb is done, whatever it had been expected to do."""
        self._at_work.pop((verb, subject), None)
        self._done += self._to_come.pop((verb, subject), 0.0)
