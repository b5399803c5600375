"""Attacks that yield what they must not, or spend what they do not say."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from dorib import (
    Attack,
    DoribError,
    Ledger,
    Params,
    Register,
    Seeds,
    Target,
    TargetModel,
    Trigger,
    hookimpl,
)

dorib_contract = 2


class Double(Attack[Params]):
    """Yields a trigger of `embeddings` and `fields` for each target and budget."""

    knows = frozenset({"prompt"})
    expected: ClassVar[str | None]

    def search(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        budgets: Sequence[int],
        seeds: Seeds,
        ledger: Ledger,
    ) -> Iterator[Trigger]:
        for target in targets:
            for budget in budgets:
                yield cast(Trigger, self.trigger(model, target, budget))

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        return Trigger(target.sample, budget, embeddings=self.embeddings(model))

    def embeddings(self, model: TargetModel) -> dict[str, Tensor]:
        return {name: value[0] for name, value in model.encode_prompt([""]).items()}


def forward(model: TargetModel, target: Target, items: int) -> None:
    """Spend `items` on one target."""
    model.predict(
        torch.zeros(items, *model.latent_shape),
        torch.zeros(items, dtype=torch.int64),
        model.encode_prompt([""] * items),
        torch.full((items,), target.index),
    )


class Dictionary(Double):
    expected = "search yielded a dict; yield Trigger objects"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        return self.embeddings(model)


class OtherSample(Double):
    expected = "search yielded a trigger for 'somebody else', which is none of its targets"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        return Trigger("somebody else", budget, prompt="a prompt")


class OtherBudget(Double):
    expected = "which is none of [24, 48]"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        return Trigger(target.sample, budget + 1, prompt="a prompt")


class SmallestBudgetOnly(Double):
    expected = "at budget 48; yield one for each target and budget"

    def search(self, *arguments: Any) -> Iterator[Trigger]:
        model, targets, budgets, seeds, ledger = arguments
        yield from super().search(model, targets, budgets[:1], seeds, ledger)


class TwiceAtOneBudget(Double):
    expected = "search yielded a second trigger for"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        return Trigger(target.sample, 24, prompt="a prompt")


class Silent(Double):
    expected = "search yielded no trigger for"

    def search(self, *arguments: Any) -> Iterator[Trigger]:
        return iter(())


class NoIterator(Double):
    expected = "search returned a NoneType; yield triggers, or return a list"

    def search(self, *arguments: Any) -> Iterator[Trigger]:
        return cast(Iterator[Trigger], None)


class NotANumber(Double):
    expected = "holds numbers that are not finite"

    def embeddings(self, model: TargetModel) -> dict[str, Tensor]:
        return {n: torch.full_like(v, torch.nan) for n, v in super().embeddings(model).items()}


class BatchAxis(Double):
    expected = "leave the batch axis out"

    def embeddings(self, model: TargetModel) -> dict[str, Tensor]:
        return {name: value[None] for name, value in super().embeddings(model).items()}


class OtherNames(Double):
    expected = "give exactly these"

    def embeddings(self, model: TargetModel) -> dict[str, Tensor]:
        return {f"my_{name}": value for name, value in super().embeddings(model).items()}


class CarriesGradients(Double):
    expected = "carries gradients; detach it"

    def embeddings(self, model: TargetModel) -> dict[str, Tensor]:
        found = super().embeddings(model)
        return {name: value.clone().requires_grad_() for name, value in found.items()}


class WholeNumbers(Double):
    expected = "give floating-point numbers"

    def embeddings(self, model: TargetModel) -> dict[str, Tensor]:
        return {name: value.long() for name, value in super().embeddings(model).items()}


class PromptOfTokens(Double):
    expected = "has a prompt of a list; give a string"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        return Trigger(target.sample, budget, prompt=cast(Any, [1, 2, 3]))


class LossIsATensor(Double):
    expected = "has a loss of a Tensor; give a float or None"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        loss = cast(Any, torch.tensor(1.0))
        return Trigger(target.sample, budget, prompt="a prompt", loss=loss)


class TraceOfWords(Double):
    expected = "has a trace that is no sequence of numbers"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        return Trigger(target.sample, budget, prompt="a prompt", trace=cast(Any, ("low", "lower")))


class ClaimsNoWork(Double):
    """Spends its first budget and claims nothing: let through, and the entry says what it cost."""

    expected = None
    items: ClassVar[int] = 20

    def search(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        budgets: Sequence[int],
        seeds: Seeds,
        ledger: Ledger,
    ) -> Iterator[Trigger]:
        for target in targets:
            forward(model, target, self.items)
            for budget in budgets:
                yield Trigger(target.sample, budget, prompt="a prompt", work=0)


class Overspends(Double):
    expected = "came after 30 U-Net items, and its budget is 24"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        forward(model, target, 30)
        return Trigger(target.sample, budget, prompt="a prompt")


class NeverStops(Double):
    """Goes on for twenty times its budget, so that a test run ends all the same."""

    expected = "the search was ended after"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        for _ in range(20 * budget // 8):
            forward(model, target, 8)
        return Trigger(target.sample, budget, prompt="a prompt")


class AroundTheModel(Double):
    expected = "came after 30 U-Net items, and its budget is 24"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        unet = cast(Any, model).pipeline.unet
        prompts = model.encode_prompt([""] * 30)["prompt_embeds"]
        unet(torch.zeros(30, *model.latent_shape), torch.zeros(30), prompts)
        return Trigger(target.sample, budget, prompt="a prompt")


class ChangesWeights(Double):
    expected = "left the model changed (unet: weights"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        for layer in model.cross_attention_value_layers().values():
            layer.weight.data.zero_()
        return Trigger(target.sample, budget, prompt="a prompt")


class HookUntilTheEnd(Double):
    """Holds a hook while it searches and takes it off as it ends: let through."""

    expected = None

    def search(self, model: TargetModel, *arguments: Any) -> Iterator[Trigger]:
        [layer, *_] = model.cross_attention_value_layers().values()
        handle = layer.register_forward_hook(lambda module, inputs, output: None)
        try:
            yield from super().search(model, *arguments)
        finally:
            handle.remove()


class Explodes(Double):
    expected = "ZeroDivisionError"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        return 1 // 0


class Complains(Double):
    expected = "DoribError: a complaint of the plugin's own"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        raise DoribError("a complaint of the plugin's own")


class Exits(Double):
    expected = "SystemExit: goodbye"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        sys.exit("goodbye")


class Interrupts(Double):
    expected = "KeyboardInterrupt"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        raise KeyboardInterrupt


DOUBLES: dict[str, type[Double]] = {
    "".join(f"-{c.lower()}" if c.isupper() else c for c in one.__name__).strip("-"): one
    for one in [
        Dictionary,
        OtherSample,
        OtherBudget,
        SmallestBudgetOnly,
        TwiceAtOneBudget,
        Silent,
        NoIterator,
        NotANumber,
        BatchAxis,
        OtherNames,
        CarriesGradients,
        WholeNumbers,
        PromptOfTokens,
        LossIsATensor,
        TraceOfWords,
        ClaimsNoWork,
        Overspends,
        NeverStops,
        AroundTheModel,
        ChangesWeights,
        HookUntilTheEnd,
        Explodes,
        Complains,
        Exits,
        Interrupts,
    ]
}


@hookimpl
def register_attacks(register: Register) -> None:
    for name, double in DOUBLES.items():
        register(name, f"{__name__}:{double.__name__}")
