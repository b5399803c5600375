"""The mitigation: gather the norms, choose the weights, hand out the mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch

from dorib import (
    DefenderView,
    DoribError,
    Edit,
    Ledger,
    MaskWeights,
    Mitigation,
    PlannedFit,
    PlannedWork,
    SamplingSettings,
    Scale,
    Seeds,
    TargetModel,
    unstacked,
)
from dorib_wanda import WandaParams
from dorib_wanda.norms import Run, mean_squared_norms
from dorib_wanda.selection import selected_weights

DEFAULT_SHARE_OF_STEPS = 0.2
SHARED_WORK = -1
"""Sample index of the baseline's work, which no single sample caused."""


class Wanda(Mitigation[WandaParams]):
    """Zeroes the feed-forward weights whose score is high for memorized prompts.

    As published, every prompt and the baseline start from the same latents; so the baseline, run
    once, is what it would be if it were run again for each prompt. Source: Chavhan et al. 2024,
    "Memorized Images in Diffusion Models share a Subspace that can be Located and Deleted".
    """

    @property
    def scope(self) -> Literal["global", "per_sample"]:
        """As asked for."""
        return self.params.scope

    def planned(self, scale: Scale) -> PlannedFit:
        """The first steps of each prompt's images, and of the baseline's.

        Raises:
            DoribError: more timesteps are asked for than are sampled.
        """
        p = self.params
        baselines = 1
        if p.baseline == "general":
            baselines = min(p.baseline_captions, scale.general_captions)
        runs = (scale.memorized + baselines) * p.images_per_prompt
        timesteps = self._timesteps(scale.sampling)
        return PlannedFit(PlannedWork(forward=runs * timesteps * scale.image // scale.timesteps))

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """Mask the weights; `notes` give the masked share of each layer, for each mask.

        A target that comes with embeddings of its own is run from them, not from its caption.

        Raises:
            DoribError: the sparsity rounds to no weight in some layer, more timesteps are asked
                for than are sampled, or general captions are wanted and there are none.
        """
        per_row = self._weights_per_row(model)
        timesteps = self._timesteps(model.sampling)
        per_sample = self.params.scope == "per_sample"
        prompts = unstacked(model.encode_targets(view.memorized))
        target_runs = [
            Run(prompt, generator, target.index, position if per_sample else 0)
            for position, (prompt, target) in enumerate(zip(prompts, view.memorized, strict=True))
            for generator in self._generators(seeds)
        ]
        baselines = unstacked(model.encode_prompt(self._baseline_captions(view, seeds)))
        baseline_runs = [
            Run(prompt, generator, SHARED_WORK, 0)
            for prompt in baselines
            for generator in self._generators(seeds)
        ]
        size = self.params.batch_size
        targets = mean_squared_norms(model, target_runs, timesteps, size)
        baseline = mean_squared_norms(model, baseline_runs, timesteps, size)
        masks = {
            name: tuple(
                selected_weights(
                    layer.weight, norms, baseline[name][0], per_row[name], self.params.select_ratio
                ).cpu()
                for norms in targets[name]
            )
            for name, layer in model.feed_forward_layers().items()
        }
        shares = [
            {
                name: len(masks[name][row]) / layer.weight.numel()
                for name, layer in model.feed_forward_layers().items()
            }
            for row in range(len(view.memorized) if per_sample else 1)
        ]
        if not per_sample:
            return Edit(MaskWeights(masks), notes={"masked_share": shares[0]})
        samples = tuple(target.sample for target in view.memorized)
        notes = {
            sample: {"masked_share": share} for sample, share in zip(samples, shares, strict=True)
        }
        return Edit(MaskWeights(masks), self.scope, samples, {"samples": notes})

    def _weights_per_row(self, model: TargetModel) -> dict[str, int]:
        widths = {name: layer.in_features for name, layer in model.feed_forward_layers().items()}
        counts = {name: int(self.params.sparsity * width) for name, width in widths.items()}
        narrowest = min(widths, key=lambda name: widths[name])
        if counts[narrowest] == 0:
            needed = math.ceil(1e4 / widths[narrowest]) / 1e4
            raise DoribError(
                f"mitigation wanda: sparsity={self.params.sparsity:g} masks none of the "
                f"{widths[narrowest]} inputs of {narrowest}; set sparsity to {needed:g} or more"
            )
        return counts

    def _timesteps(self, sampling: SamplingSettings) -> int:
        steps = sampling.steps
        if self.params.timesteps is None:
            return max(1, round(DEFAULT_SHARE_OF_STEPS * steps))
        if self.params.timesteps > steps:
            raise DoribError(
                f"mitigation wanda: timesteps={self.params.timesteps}, but this suite samples in "
                f"{steps} steps; set timesteps to {steps} or less"
            )
        return self.params.timesteps

    def _generators(self, seeds: Seeds) -> list[torch.Generator]:
        return [seeds.generator("noise", image) for image in range(self.params.images_per_prompt)]

    def _baseline_captions(self, view: DefenderView, seeds: Seeds) -> Sequence[str]:
        if self.params.baseline == "empty":
            return [""]
        captions = view.general_captions
        if not captions:
            raise DoribError(
                "mitigation wanda: baseline=general, but the suite has no general captions; add "
                "some, or set baseline=empty"
            )
        lot = torch.randperm(len(captions), generator=seeds.generator("baseline captions"))
        return [captions[i] for i in lot[: self.params.baseline_captions].tolist()]
