"""The search: an evolution strategy on the text embedding, against one image's denoising loss."""

from __future__ import annotations

import torch
from torch import Tensor

from dorib import Embeddings, EmbeddingSearch, NoisePairs, SearchBatch, SearchCost, SearchState
from dorib_evolution import EvolutionParams
from dorib_evolution.directions import principal_components

MOMENTUM = 0.8
"""Share of the earlier estimates in a step's direction."""
LONGER, SHORTER = 1.5, 0.7
"""Factors of the step's length after one that was accepted and one that was refused."""


class Evolution(EmbeddingSearch[EvolutionParams]):
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

    name = "evolution"
    knows = frozenset({"original image", "prompt", "embeddings"})

    def cost(self) -> SearchCost:
        """Two forward passes for each mutation, and one for each judging pair, as at the start."""
        p = self.params
        return SearchCost(
            step=p.restarts * (2 * p.pairs + p.judging_pairs),
            factors=f"{p.restarts} restarts x (2 x {p.pairs} pairs + {p.judging_pairs} "
            "judging_pairs)",
            start=p.restarts * p.judging_pairs,
        )

    def begin(self, batch: SearchBatch) -> SearchState:
        """At the start that was asked for, once it is judged.

        Raises:
            DoribError: there are no other captions to take directions from.
        """
        return _Population(batch, self.params)


class _Population(SearchState):
    """The searches of one batch, each at a point in the coordinates of its components."""

    @torch.no_grad()
    def __init__(self, batch: SearchBatch, params: EvolutionParams) -> None:
        self._batch = batch
        self._params = params
        self._components = principal_components(batch.model, batch.targets, params.components)
        # The restarts of a target share them.
        judges = [batch.seeds.generator(target.sample, "judging") for target in batch.targets]
        self._judging = [batch.pairs(judges) for _ in range(params.judging_pairs)]
        self._at = self._components.new_zeros(self._components.shape[:2])
        self._direction = torch.zeros_like(self._at)
        self._length = torch.full_like(self._at[:, :1], params.step)
        self._loss = self._judged(self._at)

    @torch.no_grad()
    def step(self) -> Tensor:
        """Try one step of each search; the mean loss on the judging pairs where they stand then."""
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
            drawn = [torch.randn(self._at.shape[1:], generator=g) for g in self._batch.generators]
            mutations = torch.stack(drawn).to(self._at)
            pair = self._batch.pairs()
            up = self._losses(self._at + width * mutations, pair)
            down = self._losses(self._at - width * mutations, pair)
            slope += (up - down)[:, None] * mutations / (2 * width * pairs)
        return slope

    def _judged(self, at: Tensor) -> Tensor:
        return torch.stack([self._losses(at, pair) for pair in self._judging]).mean(dim=0)

    def _losses(self, at: Tensor, pair: NoisePairs) -> Tensor:
        return self._batch.losses(self._embeddings(at), pair)

    def _embeddings(self, at: Tensor) -> Embeddings:
        # Pooled embeddings, where there are any, stay where they start.
        start = self._batch.start["prompt_embeds"]
        moved = start + torch.einsum("bk,bkd->bd", at, self._components).view_as(start)
        return {**self._batch.start, "prompt_embeds": moved}
