"""Probes by the first sampling step, which need no original image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from dorib import (
    FirstStep,
    Ledger,
    PlannedWork,
    Probe,
    Scale,
    Seeds,
    Target,
    TargetModel,
    first_step,
)
from dorib_probes import FirstStepParams
from dorib_probes.asking import asked


class _FirstStep(Probe[FirstStepParams]):
    """A mean over initial noises that are the same for all samples; two items a noise.

    Rules that act on prompts and on attention are felt.
    """

    knows = frozenset({"prompt"})

    def planned(self, scale: Scale) -> PlannedWork:
        """Two items a noise."""
        return PlannedWork(forward=2 * self.params.noises)

    def score(
        self, model: TargetModel, targets: Sequence[Target], seeds: Seeds, ledger: Ledger
    ) -> Sequence[float]:
        """One for each target: higher is more like a memorized sample."""
        embeddings, samples = asked(model, targets, seeds)
        generator = seeds.generator("noise")
        total = torch.zeros(len(targets), device=model.device)
        for _ in range(self.params.noises):
            noise = torch.randn(model.latent_shape, generator=generator)
            step = first_step(model, noise.expand(len(targets), -1, -1, -1), embeddings, samples)
            total += self.on_step(step)
        scores: list[float] = (total / self.params.noises).tolist()
        return scores

    @abstractmethod
    def on_step(self, step: FirstStep) -> Tensor:
        """The score on one noise, float32 `[B]`."""


class Magnitude(_FirstStep):
    """The length of the difference that the caption makes (Wen et al., arXiv 2407.21720)."""

    def on_step(self, step: FirstStep) -> Tensor:
        """`||conditional - unconditional||_2`."""
        return step.magnitudes()


class OneStep(_FirstStep):
    """The error of one-step synthesis (Webster, arXiv 2305.08694)."""

    def on_step(self, step: FirstStep) -> Tensor:
        """Mean squared difference between the noise and the image made of it in one step."""
        return step.one_step_errors()
