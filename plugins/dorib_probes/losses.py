"""Probes by the denoising loss of the original image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from dorib import (
    Embeddings,
    Ledger,
    NoisePairs,
    PlannedWork,
    Probe,
    Scale,
    Seeds,
    Target,
    TargetModel,
    noise_pairs,
    pair_losses,
)
from dorib_probes import LossParams
from dorib_probes.asking import asked


class _Losses(Probe[LossParams]):
    """A mean over pairs that are the same for all samples, so that what differs is the samples."""

    knows = frozenset({"original image", "prompt"})
    items = 1
    """Of one pair."""

    def planned(self, scale: Scale) -> PlannedWork:
        """Forward passes alone."""
        return PlannedWork(forward=self.items * self.params.pairs)

    @torch.no_grad()
    def score(
        self, model: TargetModel, targets: Sequence[Target], seeds: Seeds, ledger: Ledger
    ) -> Sequence[float]:
        """One for each target: higher is more like a memorized sample."""
        embeddings, samples = asked(model, targets, seeds)
        latents = model.encode_image(torch.stack([t.original for t in targets])).float()
        generator = seeds.generator("pairs")
        total = torch.zeros(len(targets), device=model.device)
        for _ in range(self.params.pairs):
            one = noise_pairs(model, [generator])
            shared = NoisePairs(one.timesteps.expand(len(targets)), one.noise.expand_as(latents))
            total += self.on_pair(model, latents, shared, embeddings, samples)
        scores: list[float] = (total / self.params.pairs).tolist()
        return scores

    @abstractmethod
    def on_pair(
        self,
        model: TargetModel,
        latents: Tensor,
        pairs: NoisePairs,
        embeddings: Embeddings,
        samples: Tensor,
    ) -> Tensor:
        """The score on one pair, float32 `[B]`."""


class LossGap(_Losses):
    """The negative denoising loss under the caption; a forward item a pair.

    The threshold attack on the loss of diffusion models: Matsumoto et al., arXiv 2302.03262.
    """

    def on_pair(
        self,
        model: TargetModel,
        latents: Tensor,
        pairs: NoisePairs,
        embeddings: Embeddings,
        samples: Tensor,
    ) -> Tensor:
        """The negative loss."""
        return -pair_losses(model, latents, pairs, embeddings, samples)


class Clid(_Losses):
    """By how much the loss without a caption exceeds that under the caption; two items a pair.

    The conditional likelihood discrepancy of Zhai et al., arXiv 2405.20771. Rules that act on
    embeddings are not felt.
    """

    items = 2

    def on_pair(
        self,
        model: TargetModel,
        latents: Tensor,
        pairs: NoisePairs,
        embeddings: Embeddings,
        samples: Tensor,
    ) -> Tensor:
        """The unconditional loss minus the conditional one."""
        noisy = model.add_noise(latents, pairs.noise, pairs.timesteps).to(model.dtype)
        outputs = model.predict_both(noisy, pairs.timesteps, embeddings, samples)
        target = model.training_target(latents, pairs.noise, pairs.timesteps)
        unconditional, conditional = (
            (output.float() - target).square().flatten(1).mean(dim=1) for output in outputs
        )
        return unconditional - conditional
