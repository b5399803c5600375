"""The search: an evolution strategy on the text embedding, against one image's denoising loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import torch
from torch import Tensor

from dorib import (
    Attack,
    DoribError,
    Embeddings,
    Ledger,
    Seeds,
    Target,
    TargetModel,
    Trigger,
    starting_embeddings,
)
from dorib_evolution import EvolutionParams
from dorib_evolution.directions import principal_components

MOMENTUM = 0.8
"""Share of the earlier estimates in a step's direction."""
LONGER, SHORTER = 1.5, 0.7
"""Factors of the step's length after one that was accepted and one that was refused."""


class Evolution(Attack[EvolutionParams]):
    """Minimises Dori's loss with forward passes only.

    Evolutionary gradient search (Salomon, IEEE Transactions on Evolutionary Computation 2(2), 1998)
    with antithetic mutations and momentum. In each step the loss at random mutations of the
    embedding and at their opposites, under one (timestep, noise) pair for each two, estimates a
    direction; the step is taken only where it lowers the mean loss on pairs that stay the same
    throughout, and its length follows its success. So a search never ends worse, on those pairs,
    than where it started.

    An embedding has thousands of entries and a budget buys about as many losses, so the mutations
    are confined to the leading principal components of the embeddings of general captions, which an
    attacker can encode. The start is free of that: the search moves it by what captions differ in.

    The published packages for evolution strategies ask and tell one search at a time, each with a
    random state of its own; here all targets share their forward passes, and each draws from its
    own generator, so that no result depends on the batch. That leaves the estimate itself to write.
    """

    knows = frozenset({"original image", "prompt", "embeddings"})

    def search(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        budgets: Sequence[int],
        seeds: Seeds,
        ledger: Ledger,
    ) -> Iterator[Trigger]:
        """Search for all targets and restarts in one batch.

        A budget buys as many whole steps of all restarts as fit into it. A trigger's `loss` and
        `trace` are the mean over the judging pairs, which the restarts of a target share.

        Raises:
            DoribError: a budget is too small for a single step, or there are no other captions to
                take directions or a start from.
        """
        steps = [self._steps(budget) for budget in budgets]
        searches = list(product(targets, range(self.params.restarts)))
        population = _Population(model, searches, seeds, self.params)
        losses: list[Tensor] = []
        for budget, until in zip(budgets, steps, strict=True):
            while len(losses) < until:
                losses.append(population.step())
            traces = torch.stack(losses, dim=1).tolist()
            found = {name: value.cpu() for name, value in population.embeddings().items()}
            for row, (target, restart) in enumerate(searches):
                yield Trigger(
                    sample=target.sample,
                    budget=budget,
                    restart=restart,
                    embeddings={name: value[row].clone() for name, value in found.items()},
                    loss=traces[row][-1],
                    trace=tuple(traces[row]),
                    work=ledger.work_of(target.index),
                )

    def _steps(self, budget: int) -> int:
        params = self.params
        start = params.restarts * params.judging_pairs
        step = params.restarts * (2 * params.pairs + params.judging_pairs)
        if budget < start + step:
            raise DoribError(
                f"attack evolution: a budget of {budget} buys no step: judging the start costs "
                f"{start} and a step {step} ({params.restarts} restarts x (2 x {params.pairs} "
                f"pairs + {params.judging_pairs} judging_pairs)); raise the budget or lower one of "
                "these"
            )
        return (budget - start) // step


class _Population:
    """The searches of one batch, each at a point in the coordinates of its components."""

    @torch.no_grad()
    def __init__(
        self,
        model: TargetModel,
        searches: Sequence[tuple[Target, int]],
        seeds: Seeds,
        params: EvolutionParams,
    ) -> None:
        targets = [target for target, _ in searches]
        self._model = model
        self._params = params
        self._generators = [seeds.generator(target.sample, restart) for target, restart in searches]
        self._start = starting_embeddings(model, targets, self._generators, params.start)
        self._components = principal_components(model, targets, params.components)
        self._latents = model.encode_image(torch.stack([t.original for t in targets])).float()
        self._samples = torch.tensor([target.index for target in targets], device=model.device)
        judges = [seeds.generator(target.sample, "judging") for target in targets]
        self._judging = [_pair(model, judges) for _ in range(params.judging_pairs)]
        self._at = self._components.new_zeros(self._components.shape[:2])
        self._direction = torch.zeros_like(self._at)
        self._length = torch.full_like(self._at[:, :1], params.step)
        self._loss = self._judged(self._at)

    @torch.no_grad()
    def step(self) -> Tensor:
        """Try one step of each search; return the losses where they stand then, `[B]`."""
        slope = self._slope()
        self._direction = MOMENTUM * self._direction + (1 - MOMENTUM) * slope
        size = self._direction.square().mean(dim=1, keepdim=True).sqrt()
        # A model that answers all embeddings alike has no direction at all.
        tried = self._at - self._length * self._direction / size.clamp_min(1e-30)
        loss = self._judged(tried)
        better = loss < self._loss
        self._loss = torch.where(better, loss, self._loss)
        self._at = torch.where(better[:, None], tried, self._at)
        self._length = self._length * torch.where(better[:, None], LONGER, SHORTER)
        return self._loss

    def embeddings(self) -> Embeddings:
        """Where the searches stand, float32."""
        return self._embeddings(self._at)

    def _slope(self) -> Tensor:
        """The estimated gradient of the smoothed loss, `[B, components]`."""
        pairs, width = self._params.pairs, self._params.mutation
        slope = torch.zeros_like(self._at)
        for _ in range(pairs):
            drawn = [torch.randn(self._at.shape[1:], generator=g) for g in self._generators]
            mutations = torch.stack(drawn).to(self._at)
            pair = _pair(self._model, self._generators)
            up = self._losses(self._at + width * mutations, pair)
            down = self._losses(self._at - width * mutations, pair)
            slope += (up - down)[:, None] * mutations / (2 * width * pairs)
        return slope

    def _judged(self, at: Tensor) -> Tensor:
        return torch.stack([self._losses(at, pair) for pair in self._judging]).mean(dim=0)

    def _losses(self, at: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
        timesteps, noise = pair
        dtype = self._model.dtype
        embeddings = {name: value.to(dtype) for name, value in self._embeddings(at).items()}
        return self._model.denoising_loss(
            self._latents, noise, timesteps, embeddings, self._samples
        )

    def _embeddings(self, at: Tensor) -> Embeddings:
        # Pooled embeddings, where there are any, stay where they start.
        start = self._start["prompt_embeds"]
        moved = start + torch.einsum("bk,bkd->bd", at, self._components).view_as(start)
        return {**self._start, "prompt_embeds": moved}


def _pair(model: TargetModel, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
    """One (timestep, noise) pair for each item: `[B]`, `[B, *latent_shape]`."""
    drawn = [
        (
            torch.randint(model.timesteps, (), generator=generator),
            torch.randn(model.latent_shape, generator=generator),
        )
        for generator in generators
    ]
    return torch.stack([t for t, _ in drawn]), torch.stack([noise for _, noise in drawn])
