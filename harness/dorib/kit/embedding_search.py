"""The base of searches in embedding space: one batch, step by step, budget by budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from dorib.contracts.embeddings import Embeddings
from dorib.contracts.ledger import Ledger
from dorib.contracts.methods import Attack
from dorib.contracts.seeds import Seeds
from dorib.contracts.target_model import TargetModel
from dorib.contracts.triggers import Trigger
from dorib.contracts.views import Target
from dorib.errors import DoribError
from dorib.kit.noise_pairs import NoisePairs, noise_pairs, pair_losses
from dorib.kit.search_params import EmbeddingSearchParams
from dorib.kit.starts import starting_embeddings

S = TypeVar("S", bound=EmbeddingSearchParams)


@dataclass(frozen=True)
class SearchCost:
    """What a search costs for one target, all restarts together, in U-Net items."""

    step: int
    """One step; an item forward is 1, backward 2 more."""
    factors: str
    """What `step` is the product of, in the parameters' names: "2 restarts x 8 pairs x 3"."""
    start: int = 0
    """Before the first step."""


@dataclass(frozen=True)
class SearchBatch:
    """What searches that share their forward passes work on; a target has a row a restart."""

    model: TargetModel
    targets: Sequence[Target]
    """`B` of them."""
    latents: Tensor
    """Of the original images: clean, `[B, *latent_shape]`, float32."""
    samples: Tensor
    """Sample indices, int64 `[B]`."""
    start: Embeddings
    """Where the searches start, by name `[B, ...]`, float32."""
    generators: Sequence[torch.Generator]
    """Each search's own randomness."""
    seeds: Seeds
    """The branch that `generators` are of, for randomness that restarts share."""

    def pairs(self, generators: Sequence[torch.Generator] | None = None) -> NoisePairs:
        """A fresh (timestep, noise) pair for each search, by its own generator if none is given."""
        return noise_pairs(self.model, self.generators if generators is None else generators)

    def losses(self, embeddings: Embeddings, pairs: NoisePairs) -> Tensor:
        """The denoising loss of each original under its row of `embeddings`, float32 `[B]`."""
        return pair_losses(self.model, self.latents, pairs, embeddings, self.samples)


class SearchState(ABC):
    """Where the searches of one batch stand."""

    @abstractmethod
    def step(self) -> Tensor:
        """Take one step of each search; the losses to put down in the traces, `[B]`."""

    @abstractmethod
    def embeddings(self) -> Embeddings:
        """Where they stand now, by name `[B, ...]`, float32."""


class EmbeddingSearch(Attack[S]):
    """A search over the text encoder's output against the denoising loss of the original image.

    All targets and restarts are searched in one batch; a budget buys as many whole steps of all
    restarts as fit into it, and budgets are stages of one search. A subclass says what a step
    costs and how it is taken.
    """

    name: ClassVar[str]
    """The name it is registered under, for its messages."""

    @abstractmethod
    def cost(self) -> SearchCost:
        """What the parameters make a search cost."""

    @abstractmethod
    def begin(self, batch: SearchBatch) -> SearchState:
        """The searches of `batch` at their start, after the work of `cost().start`.

        Raises:
            DoribError: a target lacks what the search needs.
        """

    def loss(self, trace: Sequence[float]) -> float:
        """What restarts are compared by, lower is better: the last step's loss, unless overridden.

        `trace` has the loss of each step so far, at least one.
        """
        return trace[-1]

    def search(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        budgets: Sequence[int],
        seeds: Seeds,
        ledger: Ledger,
    ) -> Iterator[Trigger]:
        """Search for all targets and restarts in one batch.

        Raises:
            DoribError: a budget is too small for a single step, or a target lacks what the start
                or the search needs.
        """
        steps = [self._steps(budget) for budget in budgets]
        searches = list(product(targets, range(self.params.restarts)))
        state = self.begin(self._batch(model, targets, seeds))
        losses: list[Tensor] = []
        for budget, until in zip(budgets, steps, strict=True):
            while len(losses) < until:
                losses.append(state.step())
            traces = torch.stack(losses, dim=1).tolist()
            found = {name: value.detach().cpu() for name, value in state.embeddings().items()}
            for row, (target, restart) in enumerate(searches):
                yield Trigger(
                    sample=target.sample,
                    budget=budget,
                    restart=restart,
                    embeddings={name: value[row].clone() for name, value in found.items()},
                    loss=self.loss(traces[row]),
                    trace=tuple(traces[row]),
                    work=ledger.work_of(target.index),
                )

    def starting_points(
        self, model: TargetModel, targets: Sequence[Target], restarts: Sequence[int], seeds: Seeds
    ) -> Embeddings:
        """Where `search`, with the same seeds, starts for each target and restart, float32.

        A target may occur several times.

        Raises:
            DoribError: there is no other caption to start from.
        """
        pairs = zip(targets, restarts, strict=True)
        generators = [seeds.generator(target.sample, restart) for target, restart in pairs]
        return starting_embeddings(model, targets, generators, self.params.start)

    def _batch(self, model: TargetModel, targets: Sequence[Target], seeds: Seeds) -> SearchBatch:
        restarts = self.params.restarts
        each = [target for target in targets for _ in range(restarts)]
        generators = [
            seeds.generator(target.sample, restart)
            for target in targets
            for restart in range(restarts)
        ]
        latents = model.encode_image(torch.stack([target.original for target in targets])).float()
        return SearchBatch(
            model=model,
            targets=each,
            latents=latents.repeat_interleave(restarts, dim=0),
            samples=torch.tensor([target.index for target in each], device=model.device),
            start=starting_embeddings(model, each, generators, self.params.start),
            generators=generators,
            seeds=seeds,
        )

    def _steps(self, budget: int) -> int:
        cost = self.cost()
        if budget < cost.start + cost.step:
            beside = f", beside {cost.start} before the first" if cost.start else ""
            raise DoribError(
                f"attack {self.name}: a budget of {budget} buys no step, which costs {cost.step} "
                f"({cost.factors}){beside}; raise the budget or lower one of these"
            )
        return (budget - cost.start) // cost.step
