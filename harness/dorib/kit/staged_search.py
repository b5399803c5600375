"""The base of searches that share a batch: step by step, budget by budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypedDict, TypeVar

import torch
from torch import Tensor

from dorib.contracts.embeddings import Embeddings
from dorib.contracts.ledger import Ledger
from dorib.contracts.methods import Attack, PlannedSearch, PlannedWork, Scale
from dorib.contracts.seeds import Seeds
from dorib.contracts.target_model import TargetModel
from dorib.contracts.triggers import Trigger
from dorib.contracts.views import ORIGINAL_IMAGE, Target
from dorib.errors import DoribError
from dorib.kit.noise_pairs import NoisePairs, noise_pairs, pair_losses
from dorib.kit.search_params import SearchParams
from dorib.kit.starts import own_prompt

S = TypeVar("S", bound=SearchParams)

WORK_PER_GRADIENT = 3
"""One item through the U-Net forward (1) and backward (2)."""
LOSS_WINDOW = 10
"""Steps whose mean loss is compared between restarts: a single step's is noisy."""


@dataclass(frozen=True)
class SearchCost:
    """What a search costs for one target, all restarts together, in U-Net items."""

    step: int
    """One step; an item forward is 1, backward 2 more."""
    factors: str
    """What `step` is the product of, in the parameters' names: "2 restarts x 8 pairs x 3"."""
    start: int = 0
    """Before the first step."""
    gradients: int = 0
    """Of `step`, what belongs to passes that have a backward pass."""

    @classmethod
    def of_gradients(cls, pairs: int, restarts: int | None = None) -> SearchCost:
        """A step that takes one gradient on each pair; `restarts` where the search has any."""
        factors = f"{pairs} pairs x {WORK_PER_GRADIENT}"
        if restarts is not None:
            factors = f"{restarts} restarts x {factors}"
        step = (restarts or 1) * pairs * WORK_PER_GRADIENT
        return cls(step=step, factors=factors, gradients=step)

    def steps(self, budget: int, name: str) -> int:
        """How many whole steps of the attack `name` a budget buys.

        Raises:
            DoribError: none.
        """
        if budget < self.start + self.step:
            beside = f", beside {self.start} before the first" if self.start else ""
            raise DoribError(
                f"attack {name}: a budget of {budget} buys no step, which costs {self.step} "
                f"({self.factors}){beside}; raise the budget or lower one of these"
            )
        return (budget - self.start) // self.step

    def planned(self, budget: int, name: str) -> PlannedWork:
        """What all the steps that a budget buys cost.

        Raises:
            DoribError: as `steps`.
        """
        steps = self.steps(budget, name)
        return PlannedWork(
            forward=self.start + steps * (self.step - self.gradients),
            gradient=steps * self.gradients,
        )


@dataclass(frozen=True)
class SearchBatch:
    """What searches that share their forward passes work on; a target has a row a restart."""

    model: TargetModel
    targets: Sequence[Target]
    """`B` of them."""
    samples: Tensor
    """Sample indices, int64 `[B]`."""
    start: Embeddings
    """Where the searches start, by name `[B, ...]`, float32."""
    generators: Sequence[torch.Generator]
    """Each search's own randomness."""
    seeds: Seeds
    """The branch that `generators` are of, for randomness that restarts share."""

    @cached_property
    def latents(self) -> Tensor:
        """Of the original images: clean, `[B, *latent_shape]`, float32.

        Raises:
            DoribError: the attack does not say that it knows them.
        """
        if not all(target.original.numel() for target in self.targets):
            raise DoribError(f"no original image is handed over; add {ORIGINAL_IMAGE!r} to `knows`")
        distinct = {target.sample: target.original for target in self.targets}
        encoded = self.model.encode_image(torch.stack(list(distinct.values()))).float()
        rows = {sample: row for row, sample in enumerate(distinct)}
        return encoded[[rows[target.sample] for target in self.targets]]

    def pairs(self, generators: Sequence[torch.Generator] | None = None) -> NoisePairs:
        """A fresh (timestep, noise) pair for each search, by its own generator if none is given."""
        return noise_pairs(self.model, self.generators if generators is None else generators)

    def losses(self, embeddings: Embeddings, pairs: NoisePairs) -> Tensor:
        """The denoising loss of each original under its row of `embeddings`, float32 `[B]`."""
        return pair_losses(self.model, self.latents, pairs, embeddings, self.samples)

    def backward(
        self, ask: Callable[[], Embeddings], leaves: Collection[Tensor], pairs: int
    ) -> Tensor:
        """The mean of the losses on fresh pairs, `[B]`; its gradient is left in the leaves.

        Args:
            ask: makes embeddings `[B, ...]` of `leaves`; called once.
            leaves: float32, without a gradient yet.
            pairs: how many, one after the other.
        """
        # Summed over a latent's entries a gradient stays within half precision's range; the leaves
        # are handed the mean all the same.
        entries = self.latents[0].numel()
        total = torch.zeros(len(self.latents), device=self.latents.device)
        asked = ask()
        reached = {name: value.detach().float().requires_grad_() for name, value in asked.items()}
        for _ in range(pairs):
            losses = self.losses(reached, self.pairs())
            (losses.sum() * entries).backward()  # type: ignore[no-untyped-call]
            total += losses.detach()
        ends, slopes = [], []
        for name, value in asked.items():
            slope = reached[name].grad
            if slope is not None and value.requires_grad:
                ends.append(value)
                slopes.append(slope.to(value.dtype))
        torch.autograd.backward(ends, slopes)
        for leaf in leaves:
            assert leaf.grad is not None
            leaf.grad /= entries * pairs
        return total / pairs


def recent_loss(trace: Sequence[float]) -> float:
    """The mean of the last losses of a trace, for searches whose losses are on fresh pairs."""
    window = trace[-LOSS_WINDOW:]
    return sum(window) / len(window)


class Asking(TypedDict, total=False):
    """The fields of a trigger that say what the model is asked with."""

    embeddings: Mapping[str, Tensor]
    prompt: str
    tokens: tuple[int, ...]


class StagedState(ABC):
    """Where the searches of one batch stand."""

    @abstractmethod
    def step(self) -> Tensor:
        """Take one step of each search; the losses to put down in the traces, `[B]`."""

    @abstractmethod
    def asking(self) -> Sequence[Asking]:
        """What each search has found, `B` of them."""


class StagedSearch(Attack[S]):
    """A search whose budgets are stages of one run.

    All targets and restarts are searched in one batch; a budget buys as many whole steps of all
    restarts as fit into it. A subclass says what a step costs and how it is taken.
    """

    name: ClassVar[str] = "search"
    """The name it is registered under; opens its messages."""

    @abstractmethod
    def cost(self) -> SearchCost:
        """What the parameters make a search cost."""

    @abstractmethod
    def begin(self, batch: SearchBatch) -> StagedState:
        """The searches of `batch` at their start, after the work of `cost().start`.

        Raises:
            DoribError: a target lacks what the search needs.
        """

    def planned(self, scale: Scale, budget: int) -> PlannedSearch:
        """As many whole steps as the budget buys.

        Raises:
            DoribError: it buys none.
        """
        return PlannedSearch(self.cost().planned(budget, self.name))

    def loss(self, trace: Sequence[float]) -> float:
        """What restarts are compared by, lower is better: the last step's loss, unless overridden.

        `trace` has the loss of each step so far, at least one.
        """
        return trace[-1]

    def starts(
        self, model: TargetModel, targets: Sequence[Target], generators: Sequence[torch.Generator]
    ) -> Embeddings:
        """Where each search starts, by name `[B, ...]`, float32: its target's own prompt."""
        return own_prompt(model, targets)

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
        steps = [self.cost().steps(budget, self.name) for budget in budgets]
        restarts = range(self.params.restarts)
        searches = [(target, restart) for target in targets for restart in restarts]
        generators = [seeds.generator(target.sample, restart) for target, restart in searches]
        each = [target for target, _ in searches]
        state = self.begin(
            SearchBatch(
                model=model,
                targets=each,
                samples=torch.tensor([target.index for target in each], device=model.device),
                start=self.starts(model, each, generators),
                generators=generators,
                seeds=seeds,
            )
        )
        losses: list[Tensor] = []
        for budget, until in zip(budgets, steps, strict=True):
            while len(losses) < until:
                losses.append(state.step())
            traces = torch.stack(losses, dim=1).tolist()
            for row, asking in enumerate(state.asking()):
                target, restart = searches[row]
                yield Trigger(
                    sample=target.sample,
                    budget=budget,
                    restart=restart,
                    loss=self.loss(traces[row]),
                    trace=tuple(traces[row]),
                    work=ledger.work_of(target.index),
                    **asking,
                )
