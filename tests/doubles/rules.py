"""Rules whose `rewrite` gives what it must not, each behind a mitigation of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch

from dorib import (
    DefenderView,
    Edit,
    Ledger,
    Mitigation,
    Params,
    PromptRule,
    Register,
    SamplingRule,
    Seeds,
    TargetModel,
    hookimpl,
)

dorib_contract = 2


class Double(PromptRule[Params]):
    expected: ClassVar[str | None]


class OneString(Double):
    expected = "rewrite returned a str; return a list of strings"

    def rewrite(
        self, model: TargetModel, prompts: Sequence[str], generators: Sequence[torch.Generator]
    ) -> list[str]:
        return cast(Any, "one prompt for all")  # type: ignore[no-any-return]


class LosesOne(Double):
    expected = "return one for each, in order"

    def rewrite(
        self, model: TargetModel, prompts: Sequence[str], generators: Sequence[torch.Generator]
    ) -> list[str]:
        return list(prompts)[1:]


class Numbers(Double):
    expected = "rewrite returned a list; return a list of strings"

    def rewrite(
        self, model: TargetModel, prompts: Sequence[str], generators: Sequence[torch.Generator]
    ) -> list[str]:
        return cast(Any, [1 for _ in prompts])  # type: ignore[no-any-return]


class Explodes(Double):
    expected = "ZeroDivisionError"

    def rewrite(
        self, model: TargetModel, prompts: Sequence[str], generators: Sequence[torch.Generator]
    ) -> list[str]:
        return [str(1 // 0)]


DOUBLES: dict[str, type[Double]] = {
    "one-string": OneString,
    "loses-one": LosesOne,
    "numbers": Numbers,
    "exploding-rule": Explodes,
}


class Behind(Mitigation[Params]):
    rule: ClassVar[str]

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        return Edit(SamplingRule(self.rule, {}))


class BehindOneString(Behind):
    rule = "one-string"


class BehindLosesOne(Behind):
    rule = "loses-one"


class BehindNumbers(Behind):
    rule = "numbers"


class BehindExplodes(Behind):
    rule = "exploding-rule"


@hookimpl
def register_rules(register: Register) -> None:
    for name, double in DOUBLES.items():
        register(name, f"{__name__}:{double.__name__}")


@hookimpl
def register_mitigations(register: Register) -> None:
    for name, double in DOUBLES.items():
        register(name, f"{__name__}:Behind{double.__name__}")
