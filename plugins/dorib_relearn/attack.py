"""The attack: a few steps of fine-tuning, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from dorib import (
    Attack,
    DoribError,
    Ledger,
    PlannedSearch,
    Scale,
    SearchCost,
    Seeds,
    Target,
    TargetModel,
    Trigger,
    noise_pairs,
    pair_losses,
)
from dorib_relearn import RelearnParams
from dorib_relearn.low_rank import LowRank

Picture = tuple[str, Callable[[], Tensor]]
"""A caption, and what reads its image."""


class Relearn(Attack[RelearnParams]):
    """Fine-tunes the model and asks it by the caption.

    How soon an image is back, on its own picture or on others', tells erased from hidden (MemoRa;
    Lynch et al., arXiv 2402.16835). Each target has a model of its own, trained alone.
    """

    knows = frozenset({"original image", "prompt", "gradients", "weights"})
    sees_others = True

    def planned(self, scale: Scale, budget: int) -> PlannedSearch:
        """As many whole steps as the budget buys.

        Raises:
            DoribError: it buys none.
        """
        cost = SearchCost.of_gradients(self.params.pairs)
        return PlannedSearch(cost.planned(budget, "relearn"))

    def search(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        budgets: Sequence[int],
        seeds: Seeds,
        ledger: Ledger,
    ) -> Iterator[Trigger]:
        """Train for one target after the other.

        Raises:
            DoribError: a budget is too small for a step, or there is nothing to train on.
        """
        cost = SearchCost.of_gradients(self.params.pairs)
        steps = [cost.steps(budget, "relearn") for budget in budgets]
        for target in targets:
            generator = seeds.generator(target.sample, 0)
            learned = LowRank(model, self.params.rank, self.params.learning_rate, generator)
            losses = partial(self._losses, model, target, self._pictures(target), generator)
            trace: list[float] = []
            for budget, until in zip(budgets, steps, strict=True):
                while len(trace) < until:
                    trace.append(learned.step(losses))
                yield Trigger(
                    sample=target.sample,
                    budget=budget,
                    prompt=target.caption,
                    edit=learned.edit,
                    loss=trace[-1],
                    trace=tuple(trace),
                    work=ledger.work_of(target.index),
                )

    def _losses(
        self,
        model: TargetModel,
        target: Target,
        pictures: Sequence[Picture],
        generator: torch.Generator,
    ) -> Tensor:
        """The denoising losses of a step's pictures, `[pairs]`."""
        count = self.params.pairs
        drawn = [int(torch.randint(len(pictures), (), generator=generator)) for _ in range(count)]
        captions, images = zip(*(pictures[one] for one in drawn), strict=True)
        latents = model.encode_image(torch.stack([read() for read in images])).float()
        pairs = noise_pairs(model, [generator] * count)
        samples = torch.full((count,), target.index, device=model.device)
        return pair_losses(model, latents, pairs, model.encode_prompt(captions), samples)

    def _pictures(self, target: Target) -> list[Picture]:
        if self.params.on == "original":
            return [(target.caption, lambda: target.original)]
        memorized = self.params.on == "others"
        pictures: list[Picture] = [
            (other.caption, other.read) for other in target.others if other.memorized == memorized
        ]
        if not pictures:
            kind = "memorized sample" if memorized else "control"
            raise DoribError(
                f"attack relearn, on={self.params.on}: beside {target.sample} the suite has no "
                f"{kind} to train on; give it one, or use on=original"
            )
        return pictures
