"""The mitigation: locate each prompt's neurons, hand out the edit that blocks them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dorib import (
    DefenderView,
    DoribError,
    Edit,
    Ledger,
    Mitigation,
    PlannedFit,
    PlannedWork,
    Scale,
    ScaleOutputs,
    Seeds,
    Target,
    TargetModel,
    unstacked,
)
from dorib_nemo import NemoParams
from dorib_nemo.differences import Differences
from dorib_nemo.judge import Judge
from dorib_nemo.localisation import refine, schedule, select
from dorib_nemo.picks import Picks, Statistics, activations, scales
from dorib_nemo.similarity import Similarity

AUTHORS_THRESHOLD = 0.428
LOOKS_PER_TRIAL = 3
"""Needed, ahead in vain, and repeated."""
LOOKED_AT_TOGETHER = {"cpu": 16}
"""Latents a forward by kind of device, where fewer than `batch_size` are as quick for each: what is
looked at ahead in vain then costs more than what sharing a forward saves. It does not depend on the
moment: the same plan takes the same forwards."""
SHARED_WORK = -1
"""Sample index of the threshold's work, which no single sample caused."""


class Nemo(Mitigation[NemoParams]):
    """Blocks the value neurons of the down and mid blocks that a memorized prompt relies on.

    A prompt is located by the embedding that stands for it, so that a trigger may stand in for the
    caption. In `compat` mode the authors' code is followed decision for decision: the second
    sampling timestep on pure noise, output minus noise whatever the parametrisation, one data
    range for a whole batch, the last theta left out, neurons listed twice. `corrected` looks at
    the first timestep, where pure noise belongs, compares each pair by itself, tries the last
    theta and lists a neuron once. Source: Hintersdorf et al. 2024, "Finding NeMo" (arXiv
    2406.02366), and the authors' code.
    """

    @property
    def scope(self) -> Literal["global", "per_sample"]:
        """As asked for."""
        return self.params.scope

    def planned(self, scale: Scale) -> PlannedFit:
        """At most: every round, layer and neuron is tried with every seed.

        Looking ahead may cost as much again, and what lies near the threshold is looked at twice.
        """
        p = self.params
        layers = [n for name, n in scale.value_layers.items() if _is_looked_at(name)]
        if not layers:
            return PlannedFit(work=None)
        compat = p.mode == "compat"
        rounds = schedule(p.theta_start, p.theta_step, p.theta_min, max(layers), compat)
        tried = sum(1 for _ in rounds) + len(layers) + sum(layers)
        captions = 0
        if p.threshold is None and not compat:
            captions = min(p.threshold_captions, scale.general_captions)
        looks = captions + scale.memorized * (1 + tried * LOOKS_PER_TRIAL)
        return PlannedFit(PlannedWork(forward=looks * p.seeds, exact=False))

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """Block the neurons; `notes` tell how each prompt's were found.

        A prompt whose seeds are all unlike each other is not memorized by this criterion: nothing
        is blocked for it.

        Raises:
            DoribError: there are too few general captions or sampling timesteps, the latents are
                too small for MS-SSIM, or the model has no value layer before its up blocks.
        """
        search = Search(self.params, model, view.general_captions, seeds)
        located = {target.sample: search.locate(target) for target in view.memorized}
        notes = search.notes | {"samples": {sample: note for sample, (_, note) in located.items()}}
        factors = [scales(picks, search.layers) for picks, _ in located.values()]
        stacked = {name: torch.stack([f[name] for f in factors]) for name in search.layers}
        if self.params.scope == "per_sample":
            return Edit(ScaleOutputs(stacked), "per_sample", tuple(located), notes)
        union = {name: scale.amin(dim=0) for name, scale in stacked.items()}
        return Edit(ScaleOutputs(union), "global", (), notes)


class Search:
    """What all prompts of one fit share."""

    def __init__(
        self, params: NemoParams, model: TargetModel, captions: Sequence[str], seeds: Seeds
    ) -> None:
        self.params = params
        self.model = model
        self.compat = params.mode == "compat"
        self.layers = _layers(model)
        if len(captions) < 2:
            raise DoribError(
                f"mitigation nemo: needs at least 2 general captions, the suite has {len(captions)}"
                "; add some"
            )
        self.similarity = Similarity.for_latents(
            *model.latent_shape[1:], data_range=None if self.compat else 1.0
        )
        timestep = params.timestep or (2 if self.compat else 1)
        if timestep > model.sampling.steps:
            raise DoribError(
                f"mitigation nemo: timestep {timestep}, but this suite samples in "
                f"{model.sampling.steps} steps; set timestep to that or less"
            )
        subtract_noise = self.compat or model.prediction_type == "epsilon"
        self.noise = torch.stack(
            [
                torch.randn(model.latent_shape, generator=seeds.generator("noise", seed))
                for seed in range(params.seeds)
            ]
        )
        self.differences = Differences(
            model, self.layers, self.noise, timestep, subtract_noise, params.batch_size
        )
        self.statistics = Statistics.of(
            activations(self.layers, model.encode_prompt(part)["prompt_embeds"])
            for part in _parts(captions, params.batch_size)
        )
        self.threshold = self._threshold(captions, seeds)
        self.notes: dict[str, Any] = {
            "mode": params.mode,
            "difference": "output - noise" if subtract_noise else "raw output",
            "prediction_type": model.prediction_type,
            "timestep": timestep,
            "threshold": self.threshold,
            "ms_ssim": asdict(self.similarity),
            "layers": list(self.layers),
        }

    def locate(self, target: Target) -> tuple[Picks, dict[str, Any]]:
        """The neurons of one prompt, and how they were found."""
        params = self.params
        prompt = unstacked(self.model.encode_targets([target]))[0]
        nothing: Picks = ((),) * len(self.layers)
        every = self.differences(prompt, target.index, range(params.seeds), [nothing])[0]
        kept = (self.similarity.closest(every) > self.threshold).nonzero().flatten().tolist()
        note: dict[str, Any] = {"memorized": bool(kept), "kept_seeds": kept}
        if not kept:
            return nothing, note | {"picks": nothing, "items": {"needed": params.seeds}}

        judge = Judge(
            look=lambda candidates, positions: self.differences(
                prompt, target.index, [kept[position] for position in positions], candidates
            ),
            similarity=self.similarity,
            unblocked=every[kept],
            batch_size=min(
                params.batch_size, LOOKED_AT_TOGETHER.get(self.model.device.type, params.batch_size)
            ),
            tolerance=0.1 * math.sqrt(torch.finfo(self.model.dtype).eps),
        )
        activation = [layer[0] for layer in activations(self.layers, prompt["prompt_embeds"][None])]
        widest = max(layer.out_features for layer in self.layers.values())
        rounds = schedule(
            params.theta_start, params.theta_step, params.theta_min, widest, self.compat
        )
        selection = select(
            judge,
            list(rounds),
            lambda one: self.statistics.picks(activation, one.theta, one.k, repeat=self.compat),
            self.threshold,
        )
        picks = refine(judge, selection.picks, selection.threshold)
        items = judge.items()
        items["needed"] += params.seeds
        return picks, note | {
            "theta": selection.round.theta,
            "k": selection.round.k,
            "rounds": selection.rounds,
            "accepted": selection.accepted,
            "initial_picks": selection.picks,
            "initial_similarity": judge.similarity(selection.picks, math.inf),
            "picks": picks,
            "similarity": judge.similarity(picks, math.inf),
            "items": items,
        }

    def _threshold(self, captions: Sequence[str], seeds: Seeds) -> float:
        """Mean plus standard deviation of what it is compared with: each seed's closest."""
        if self.params.threshold is not None:
            return self.params.threshold
        if self.compat:
            return AUTHORS_THRESHOLD
        lot = torch.randperm(len(captions), generator=seeds.generator("threshold captions"))
        drawn = [captions[i] for i in lot[: self.params.threshold_captions].tolist()]
        closest: list[Tensor] = []
        nothing: Picks = ((),) * len(self.layers)
        for caption in drawn:
            prompt = unstacked(self.model.encode_prompt([caption]))[0]
            every = self.differences(prompt, SHARED_WORK, range(self.params.seeds), [nothing])[0]
            closest.append(self.similarity.closest(every))
        values = torch.cat(closest)
        return (values.mean() + values.std()).item()


def _is_looked_at(layer: str) -> bool:
    return not layer.startswith("up_blocks.")


def _layers(model: TargetModel) -> dict[str, nn.Linear]:
    """The value layers of the down and mid blocks; up blocks are never touched."""
    layers = {
        name: layer
        for name, layer in model.cross_attention_value_layers().items()
        if _is_looked_at(name)
    }
    if not layers:
        raise DoribError(
            "mitigation nemo: this model's down and mid blocks have no cross-attention; choose "
            "another mitigation"
        )
    return layers


def _parts(captions: Sequence[str], size: int) -> list[Sequence[str]]:
    return [captions[start : start + size] for start in range(0, len(captions), size)]
