"""Metrics that give values they did not declare, or that are none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, cast

import torch

from dorib import (
    Generation,
    Measured,
    Metric,
    Params,
    Quantity,
    Register,
    SuiteView,
    hookimpl,
)

dorib_contract = 2


class Double(Metric[Params]):
    """Gives what `values` says of each generation."""

    needs = frozenset({"generations"})
    expected: ClassVar[str | None]

    def prepare(self, suite: SuiteView, device: torch.device) -> None:
        pass

    def stack(self) -> dict[str, str | float | None]:
        return {}

    def measure(self, generations: Sequence[Generation]) -> Iterable[Sequence[Measured]]:
        return [cast(Any, self.values(generation)) for generation in generations]

    def values(self, generation: Generation) -> object:
        raise NotImplementedError


def of_each_image(name: str) -> dict[str, Quantity]:
    return {name: Quantity("", "neither", "image")}


class BareNumbers(Double):
    expected = "measure gave a float; give Measured objects"
    quantities = of_each_image("bare")

    def values(self, generation: Generation) -> object:
        return [0.5]


class NotANumber(Double):
    expected = "give a finite float"
    quantities = of_each_image("nan")

    def values(self, generation: Generation) -> object:
        return [Measured("nan", float("nan"), seed) for seed in generation.seeds]


class Infinite(Double):
    expected = "give a finite float"
    quantities = of_each_image("inf")

    def values(self, generation: Generation) -> object:
        return [Measured("inf", float("inf"), seed) for seed in generation.seeds]


class Words(Double):
    expected = "give a finite float"
    quantities = of_each_image("words")

    def values(self, generation: Generation) -> object:
        return [Measured("words", cast(Any, "high"), seed) for seed in generation.seeds]


class Undeclared(Double):
    expected = "measure gave 'surprise', which is none of its quantities"
    quantities = of_each_image("declared")

    def values(self, generation: Generation) -> object:
        return [Measured("surprise", 1.0, seed) for seed in generation.seeds]


class OtherLevel(Double):
    expected = "for one sample"
    quantities = of_each_image("level")

    def values(self, generation: Generation) -> object:
        return [Measured("level", 1.0)]


class ForeignSeed(Double):
    expected = "for seed 99"
    quantities = of_each_image("seed")

    def values(self, generation: Generation) -> object:
        return [Measured("seed", 1.0, 99)]


class OneForAll(Double):
    expected = "; give a list of Measured for each, in order"
    quantities = of_each_image("one")

    def measure(self, generations: Sequence[Generation]) -> Iterable[Sequence[Measured]]:
        return [[Measured("one", 1.0, generations[0].seeds[0])]] * (len(generations) + 1)


class Twice(Double):
    expected = "measure gave twice 2 times for seed"
    quantities = of_each_image("twice")

    def values(self, generation: Generation) -> object:
        return [Measured("twice", 1.0, seed) for seed in generation.seeds] * 2


class Explodes(Double):
    expected = "ZeroDivisionError"
    quantities = of_each_image("exploding")

    def values(self, generation: Generation) -> object:
        return 1 // 0


DOUBLES: dict[str, type[Double]] = {
    "".join(f"-{c.lower()}" if c.isupper() else c for c in one.__name__).strip("-"): one
    for one in [
        BareNumbers,
        NotANumber,
        Infinite,
        Words,
        Undeclared,
        OtherLevel,
        ForeignSeed,
        OneForAll,
        Twice,
        Explodes,
    ]
}


@hookimpl
def register_metrics(register: Register) -> None:
    for name, double in DOUBLES.items():
        register(name, f"{__name__}:{double.__name__}")
