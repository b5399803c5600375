"""What a method says, before it is run, of the work that it will cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dorib.contracts.suite_view import SamplingSettings


@dataclass(frozen=True)
class Scale:
    """How much there will be to do."""

    sampling: SamplingSettings
    timesteps: int
    """U-Net calls of one sampling: its steps, and more where a sampler visits some twice."""
    memorized: int = 0
    """Targets that one fit is handed."""
    general_captions: int = 0
    general_pairs: int = 0
    value_layers: Mapping[str, int] = field(default_factory=dict)
    """Outputs of each cross-attention value layer; empty where the model is not known yet."""

    @property
    def image(self) -> int:
        """What sampling one image costs, in U-Net items."""
        return self.timesteps * (2 if self.sampling.guidance_scale > 1 else 1)


@dataclass(frozen=True)
class PlannedWork:
    """U-Net items, by what they take."""

    forward: int = 0
    """Items of passes without a backward pass: each counts 1."""
    gradient: int = 0
    """Items of passes forward and backward: such a pass counts 3 an item."""
    exact: bool = True
    """Whether a run counts just so many; else it counts no more."""

    @property
    def items(self) -> int:
        """All of them."""
        return self.forward + self.gradient

    def __add__(self, other: PlannedWork) -> PlannedWork:
        return PlannedWork(
            self.forward + other.forward, self.gradient + other.gradient, self.exact and other.exact
        )

    def __mul__(self, times: int) -> PlannedWork:
        return PlannedWork(self.forward * times, self.gradient * times, self.exact)

    def at_most(self) -> PlannedWork:
        """The same as a bound."""
        return PlannedWork(self.forward, self.gradient, exact=False)


NO_WORK = PlannedWork()


@dataclass(frozen=True)
class PlannedFit:
    """What a mitigation says of its fit."""

    work: PlannedWork | None = NO_WORK
    """Of one fit, in all; None where it cannot be said."""
    rules: tuple[str, ...] | None = None
    """Registered names of the sampling rules that the edit is made of, if it changes nothing
    besides: none at all for an edit that changes nothing. None where it changes the model, or is
    not known."""
    rule_work: PlannedWork | None = NO_WORK
    """What these cost for one image; None where it cannot be said."""


@dataclass(frozen=True)
class PlannedSearch:
    """What an attack says of its search for one target."""

    work: PlannedWork
    """Up to its largest budget, all restarts together."""
    in_words: bool = True
    """Whether its triggers ask in words, which rules that act on prompts rewrite."""
    strength: float = 1.0
    """Of the image that its triggers start from: the share of the sampling steps that follow."""
