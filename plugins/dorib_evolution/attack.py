"""The search: an evolution strategy on the text embedding, against one image's denoising loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import torch
from torch import Tensor

from dorib import (
    Attack,
    DoribError,
    Ledger,
    Seeds,
    Target,
    TargetModel,
    Trigger,
    starting_embeddings,
)
from dorib_evolution import EvolutionParams
from dorib_evolution.directions import principal_components

WORK_PER_PAIR = 2
"""Two items through the U-Net forward: a mutation and its opposite."""
LOSS_WINDOW = 10
"""Steps whose mean loss is compared between restarts: a single step's is noisy."""


class Evolution(Attack[EvolutionParams]):
    """Minimises Dori's loss with forward passes only.

    An antithetic evolution strategy with Adam, after Salimans et al., arXiv 1703.03864: the loss at
    random mutations of the embedding and at their opposites, under one (timestep, noise) pair for
    each two, estimates the gradient of the smoothed loss. An embedding has thousands of entries
    and a budget buys about as many losses, so the mutations are confined to the leading principal
    components of the embeddings of general captions, which an attacker can encode without the
    sample's own. The start is free of that: the search moves it by what captions differ in.

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

        A budget buys as many whole steps of all restarts as fit into it.

        Raises:
            DoribError: a budget is too small for a single step, or there are no other captions to
                take directions or a start from.
        """
        steps = [self._steps(budget) for budget in budgets]
        searches = list(product(targets, range(self.params.restarts)))
        of_search = [target for target, _ in searches]
        generators = [seeds.generator(target.sample, restart) for target, restart in searches]
        start = starting_embeddings(model, of_search, generators, self.params.start)
        population = _Population(model, of_search, generators, start, self.params)
        losses: list[Tensor] = []
        for budget, until in zip(budgets, steps, strict=True):
            while len(losses) < until:
                losses.append(population.step())
            traces = torch.stack(losses, dim=1).tolist()
            found = population.embeddings().cpu()
            for row, (target, restart) in enumerate(searches):
                window = traces[row][-LOSS_WINDOW:]
                yield Trigger(
                    sample=target.sample,
                    budget=budget,
                    restart=restart,
                    embeddings={"prompt_embeds": found[row].clone()},
                    loss=sum(window) / len(window),
                    trace=tuple(traces[row]),
                    work=ledger.work_of(target.index),
                )

    def _steps(self, budget: int) -> int:
        params = self.params
        step = params.restarts * params.pairs * WORK_PER_PAIR
        if budget < step:
            raise DoribError(
                f"attack evolution: a budget of {budget} buys no step, which costs {step} "
                f"({params.restarts} restarts x {params.pairs} pairs x {WORK_PER_PAIR}); raise the "
                "budget or lower pairs or restarts"
            )
        return budget // step


class _Population:
    """The searches of one batch, each at a point in the coordinates of its components."""

    def __init__(
        self,
        model: TargetModel,
        targets: Sequence[Target],
        generators: Sequence[torch.Generator],
        start: Tensor,
        params: EvolutionParams,
    ) -> None:
        self._model = model
        self._generators = generators
        self._params = params
        self._start = start
        self._components = principal_components(model, targets, params.components)
        latents = model.encode_image(torch.stack([target.original for target in targets]))
        self._latents = torch.cat([latents.float()] * 2)
        samples = torch.tensor([target.index for target in targets], device=model.device)
        self._samples = torch.cat([samples] * 2)
        self._at = start.new_zeros(self._components.shape[:2])
        self._adam = torch.optim.Adam([self._at], lr=params.learning_rate)

    @torch.no_grad()
    def step(self) -> Tensor:
        """Move each search against its estimated gradient; return the mean losses `[B]`."""
        pairs, width = self._params.pairs, self._params.mutation
        slope = torch.zeros_like(self._at)
        total = self._at.new_zeros(len(self._at))
        for _ in range(pairs):
            mutations, timesteps, noise = self._draw()
            both = torch.cat([self.embeddings(width * s * mutations) for s in (1, -1)])
            losses = self._model.denoising_loss(
                self._latents,
                torch.cat([noise] * 2),
                timesteps.repeat(2),
                {"prompt_embeds": both.to(self._model.dtype)},
                self._samples,
            )
            up, down = losses.chunk(2)
            slope += (up - down)[:, None] * mutations / (2 * width * pairs)
            total += (up + down) / (2 * pairs)
        self._at.grad = slope
        self._adam.step()
        return total

    def embeddings(self, mutations: Tensor | None = None) -> Tensor:
        """Where the searches stand, or their mutations: float32 `[B, tokens, width]`."""
        at = self._at if mutations is None else self._at + mutations
        return self._start + torch.einsum("bk,bkd->bd", at, self._components).view_as(self._start)

    def _draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """For each search, from its own generator: a mutation, a timestep and noise."""
        size = self._at.shape[1:]
        drawn = [
            (
                torch.randn(size, generator=generator),
                torch.randint(self._model.timesteps, (), generator=generator),
                torch.randn(self._model.latent_shape, generator=generator),
            )
            for generator in self._generators
        ]
        mutations, timesteps, noise = (torch.stack(parts) for parts in zip(*drawn, strict=True))
        return mutations.to(self._at), timesteps, noise
