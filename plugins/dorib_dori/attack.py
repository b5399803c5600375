"""The search itself: Adam on the text embedding, against the denoising loss of one image."""

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
from dorib_dori import DoriParams

WORK_PER_PAIR = 3
"""One item through the U-Net forward (1) and backward (2)."""
LOSS_WINDOW = 10
"""Steps whose mean loss is compared between restarts: a single step's is noisy."""


class Dori(Attack[DoriParams]):
    """Minimises the denoising loss of the original image over the text encoder's output.

    Where a model has pooled embeddings (SDXL), they are searched as well.

    The loss is that of the raw output in the model's own parametrisation, conditional only. Source:
    Kowalczuk et al., "Finding Dori", arXiv 2507.16880.
    """

    knows = frozenset({"original image", "prompt", "gradients", "embeddings"})

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
            DoribError: a budget is too small for a single step, or there is no other caption to
                start from.
        """
        steps = [self._steps(budget) for budget in budgets]
        searches = list(product(targets, range(self.params.restarts)))
        generators = [seeds.generator(target.sample, restart) for target, restart in searches]
        latents = model.encode_image(torch.stack([target.original for target in targets])).float()
        latents = latents.repeat_interleave(self.params.restarts, dim=0)
        samples = torch.tensor([target.index for target, _ in searches], device=model.device)
        start = starting_embeddings(
            model, [target for target, _ in searches], generators, self.params.start
        )
        # The optimiser needs full precision whatever the model's: these are the master copies.
        embeddings = {name: value.clone().requires_grad_() for name, value in start.items()}
        adam = torch.optim.Adam(embeddings.values(), lr=self.params.learning_rate)
        losses: list[Tensor] = []
        for budget, until in zip(budgets, steps, strict=True):
            while len(losses) < until:
                losses.append(self._step(model, latents, embeddings, samples, generators))
                adam.step()
                adam.zero_grad()
            traces = torch.stack(losses, dim=1).tolist()
            found = {name: value.detach().cpu().clone() for name, value in embeddings.items()}
            for row, (target, restart) in enumerate(searches):
                window = traces[row][-LOSS_WINDOW:]
                yield Trigger(
                    sample=target.sample,
                    budget=budget,
                    restart=restart,
                    embeddings={name: value[row] for name, value in found.items()},
                    loss=sum(window) / len(window),
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

    def _steps(self, budget: int) -> int:
        params = self.params
        step = params.restarts * params.pairs * WORK_PER_PAIR
        if budget < step:
            raise DoribError(
                f"attack dori: a budget of {budget} buys no step, which costs {step} "
                f"({params.restarts} restarts x {params.pairs} pairs x {WORK_PER_PAIR}); raise the "
                "budget or lower pairs or restarts"
            )
        return budget // step

    def _step(
        self,
        model: TargetModel,
        latents: Tensor,
        embeddings: Embeddings,
        samples: Tensor,
        generators: Sequence[torch.Generator],
    ) -> Tensor:
        """Leave one step's gradients in `embeddings`; return the mean losses `[B]`."""
        pairs = self.params.pairs
        # Summed over a latent's entries the gradient stays within half precision's range; Adam is
        # handed the mean all the same.
        entries = latents[0].numel()
        total = torch.zeros(len(latents), device=model.device)
        for _ in range(pairs):
            timesteps, noise = _pairs(generators, latents.shape[1:], model.timesteps)
            conditioning = {name: value.to(model.dtype) for name, value in embeddings.items()}
            losses = model.denoising_loss(latents, noise, timesteps, conditioning, samples)
            (losses.sum() * entries).backward()  # type: ignore[no-untyped-call]
            total += losses.detach()
        for value in embeddings.values():
            assert value.grad is not None
            value.grad /= entries * pairs
        return total / pairs


def _pairs(
    generators: Sequence[torch.Generator], shape: torch.Size, timesteps: int
) -> tuple[Tensor, Tensor]:
    """One (timestep, noise) pair for each item from its own generator: `[B]`, `[B, *shape]`."""
    drawn = [
        (torch.randint(timesteps, (), generator=generator), torch.randn(shape, generator=generator))
        for generator in generators
    ]
    return torch.stack([t for t, _ in drawn]), torch.stack([noise for _, noise in drawn])
