"""The search: draw, compare, and go on from the image that recurs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dorib import (
    Attack,
    DoribError,
    ImageStart,
    Ledger,
    PlannedSearch,
    PlannedWork,
    Scale,
    Seeds,
    Target,
    TargetModel,
    Trigger,
)
from dorib_seeds import SeedsParams
from dorib_seeds.typicality import most_typical, tiled_distances

FEWEST = 2
"""Images without which none is typical."""


class FreshSeeds(Attack[SeedsParams]):
    """Draws images of the caption while the budget lasts, and keeps the most typical.

    It never sees the original: what recurs among fresh seeds is what a model holds (Carlini et al.,
    arXiv 2301.13188). The trigger is the caption with the kept image as the start of sampling.
    """

    knows = frozenset({"prompt", "initial noise"})
    feels = frozenset({"prompt", "embeddings", "noise", "attention", "guidance"})

    def planned(self, scale: Scale, budget: int) -> PlannedSearch:
        """As many whole images as the budget buys.

        Raises:
            DoribError: it buys no two.
        """
        _require_images(budget, scale.image)
        work = PlannedWork(forward=budget // scale.image * scale.image)
        return PlannedSearch(work, strength=self.params.strength)

    def search(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        budgets: Sequence[int],
        seeds: Seeds,
        ledger: Ledger,
    ) -> Iterator[Trigger]:
        """Draw for all targets in one batch.

        Raises:
            DoribError: a budget is too small for two images.
        """
        steps = len(model.sampling_timesteps())
        _require_images(budgets[0], steps * (2 if model.sampling.guidance_scale > 1 else 1))
        draws = _Draws(model, targets, seeds)
        # Until an image has been drawn, the most that one may cost.
        cost = 2 * steps
        for budget in budgets:
            while (spent := _spent(ledger, targets)) + cost <= budget:
                draws.add()
                cost = _spent(ledger, targets) - spent
            if len(draws) < FEWEST:
                _require_images(budget, cost)
            for row, target in enumerate(targets):
                latents, distance = draws.typical(row, self.params.clique)
                yield Trigger(
                    sample=target.sample,
                    budget=budget,
                    prompt=target.caption,
                    start=ImageStart(latents, self.params.strength),
                    loss=distance,
                    work=ledger.work_of(target.index),
                )


class _Draws:
    """The images drawn so far for each target."""

    def __init__(self, model: TargetModel, targets: Sequence[Target], seeds: Seeds) -> None:
        self._model, self._targets, self._seeds = model, targets, seeds
        self._samples = torch.tensor([target.index for target in targets], device=model.device)
        self._latents: list[Tensor] = []
        self._images: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._latents)

    @torch.no_grad()
    def add(self) -> None:
        """One more image of each."""
        number, model = len(self), self._model
        captions = [target.caption for target in self._targets]
        prompts = model.rewritten(captions, self._generators("rule", number))
        latents = model.sample_latents(
            model.encode_prompt(prompts),
            self._generators("image", number),
            self._samples,
            lengths=model.tokenize(prompts).lengths,
        )
        self._latents.append(latents.float().cpu())
        self._images.append(model.decode(latents).cpu())

    def typical(self, row: int, clique: int) -> tuple[Tensor, float]:
        """Clean latents of a target's most typical image, and its distance from those alike."""
        images = torch.stack([drawn[row] for drawn in self._images])
        place, distance = most_typical(tiled_distances(images), clique)
        return self._latents[place][row].clone(), distance

    def _generators(self, *names: str | int) -> list[torch.Generator]:
        return [self._seeds.generator(target.sample, *names) for target in self._targets]


def _spent(ledger: Ledger, targets: Sequence[Target]) -> int:
    """On the target that has cost most; all cost the same."""
    return max(ledger.work_of(target.index) for target in targets)


def _require_images(budget: int, cost: int) -> None:
    if budget < FEWEST * cost:
        raise DoribError(
            f"attack seeds: a budget of {budget} buys no {FEWEST} images, which cost {cost} each "
            "(sampling steps, twice with guidance); raise the budget"
        )
