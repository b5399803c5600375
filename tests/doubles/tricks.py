"""Attacks that hide work, change what they have yielded, or yield what no file can hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch

from dorib import (
    Edit,
    ImageStart,
    Ledger,
    Register,
    ScaleOutputs,
    SearchBatch,
    Seeds,
    Target,
    TargetModel,
    Trigger,
    hookimpl,
)
from doubles.attacks import Double, forward
from doubles.mitigations import scales

dorib_contract = 2


class HidesWork(Double):
    expected = "the sample index 999, which is that of none of its targets; use target.index"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        forward(model, replace(target, index=999), 8)
        return super().trigger(model, target, budget)


class ClearsTheLedger(Double):
    expected = "came after 40 U-Net items, and its budget is 24"

    def search(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        budgets: Sequence[int],
        seeds: Seeds,
        ledger: Ledger,
    ) -> Iterator[Trigger]:
        forward(model, targets[0], 40)
        ledger.forward_items.clear()
        yield from super().search(model, targets, budgets, seeds, ledger)


class WritesOn(Double):
    """Zeroes what it yielded at the smaller budgets: let through, and these keep their values."""

    expected = None

    def search(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        budgets: Sequence[int],
        seeds: Seeds,
        ledger: Ledger,
    ) -> Iterator[Trigger]:
        found = {name: value.clone() for name, value in self.embeddings(model).items()}
        for budget in budgets:
            for target in targets:
                yield Trigger(target.sample, budget, embeddings=found)
            for value in found.values():
                value.zero_()


class LooksAtTheOriginal(Double):
    """It says that it knows the prompt alone."""

    expected = "0 numbers of the original image"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        raise ValueError(f"{target.original.numel()} numbers of the original image")


class ComparesWithTheOriginal(Double):
    expected = "no original image is handed over; add 'original image' to `knows`"

    def search(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        budgets: Sequence[int],
        seeds: Seeds,
        ledger: Ledger,
    ) -> Iterator[Trigger]:
        generators = [seeds.generator(target.sample, 0) for target in targets]
        samples = torch.tensor([target.index for target in targets])
        start = model.encode_prompt([target.caption for target in targets])
        batch = SearchBatch(model, targets, samples, start, generators, seeds)
        batch.losses(start, batch.pairs())
        return super().search(model, targets, budgets, seeds, ledger)


class NumpyBudget(Double):
    expected = None

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        return Trigger(target.sample, cast(Any, np.int64(budget)), prompt="a prompt")


class TensorTokens(Double):
    expected = None

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        ids = model.tokenize(["a"]).ids[0][1:2]
        prompt = model.detokenize(ids.tolist())
        return Trigger(target.sample, budget, prompt=prompt, tokens=tuple(cast(Any, ids)))


class NumpyStrength(Double):
    expected = None

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        start = ImageStart(torch.zeros(model.latent_shape), cast(Any, np.float32(0.5)))
        return Trigger(target.sample, budget, prompt="a prompt", start=start)


class NotesOfNumpy(Double):
    expected = "brings an edit with notes that are no JSON values"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        edit = Edit(ScaleOutputs(scales(model)), notes={"loss": np.float32(1)})
        return Trigger(target.sample, budget, prompt="a prompt", edit=edit)


class LoneSurrogate(Double):
    expected = "has a prompt that is no text"

    def trigger(self, model: TargetModel, target: Target, budget: int) -> object:
        return Trigger(target.sample, budget, prompt="a \ud800 b")


DOUBLES: dict[str, type[Double]] = {
    "hides-work": HidesWork,
    "clears-the-ledger": ClearsTheLedger,
    "writes-on": WritesOn,
    "looks-at-the-original": LooksAtTheOriginal,
    "compares-with-the-original": ComparesWithTheOriginal,
    "numpy-budget": NumpyBudget,
    "tensor-tokens": TensorTokens,
    "numpy-strength": NumpyStrength,
    "notes-of-numpy-on-top": NotesOfNumpy,
    "lone-surrogate": LoneSurrogate,
}


@hookimpl
def register_attacks(register: Register) -> None:
    for name, double in DOUBLES.items():
        register(name, f"{__name__}:{double.__name__}")
