"""Drawing and judging a model without one of its parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dorib import REPLICATES, Generation, MethodSpec, Metric, Session, Subject
from dorib.ranking.statistics import clopper_pearson, utility_share
from knock_out.layers import knocked_out, layers_of
from knock_out.rows import Part, Row

ALIGNED, SHUFFLED = "clip_alignment", "clip_alignment_shuffled"


@dataclass
class Measuring:
    """A suite's memorized samples and utility prompts, by the evaluation seeds of a run."""

    session: Session
    _yardstick: tuple[list[float], list[float]] | None = field(default=None, init=False)
    """The whole model's alignment with each utility prompt, and with another prompt."""

    @cached_property
    def _judges(self) -> tuple[Metric[Any], Metric[Any]]:
        found = [self.session.configure("metric", MethodSpec(name=n)) for n in ("sscd", "clip")]
        for judge in found:
            self.session.prepare(judge)
        return found[0].metric, found[1].metric

    def measure(self, part: Part) -> Row:
        """The model without `part`; the part that is nothing comes first.

        Raises:
            ValueError: another part comes before it.
        """
        hits = [self._replicates(part, subject) for subject in self.session.memorized]
        broken = [any(of_sample) for of_sample in hits]
        low, high = clopper_pearson(sum(broken), len(broken))
        aligned, shuffled = self._alignment(part)
        if part.kind is None:
            self._yardstick = aligned, shuffled
        if self._yardstick is None:
            raise ValueError("the whole model is what the others are compared with")
        whole, zero = self._yardstick
        share = utility_share(aligned, whole, zero, np.random.default_rng(0))
        return Row(
            part=part,
            memorization_rate=sum(broken) / len(broken),
            memorization_low=low,
            memorization_high=high,
            replication_rate=float(np.mean([np.mean(of_sample) for of_sample in hits])),
            utility=share.value if share else None,
            utility_low=share.low if share else None,
            utility_high=share.high if share else None,
        )

    def _replicates(self, part: Part, subject: Subject) -> list[bool]:
        judge, _ = self._judges
        seeds = self.session.evaluation_seeds
        generation = Generation(
            sample=subject.id,
            caption=subject.caption,
            seeds=seeds,
            images=self._draw(part, [subject] * len(seeds), seeds),
            originals=self.session.originals(subject),
        )
        values = next(iter(judge.measure([generation])))
        return [value.value == 1 for value in values if value.metric == REPLICATES]

    def _alignment(self, part: Part) -> tuple[list[float], list[float]]:
        _, judge = self._judges
        prompts = self.session.utility_prompts
        images = self._draw(part, prompts, [0] * len(prompts))
        found: dict[str, list[float]] = {ALIGNED: [], SHUFFLED: []}
        for subject, image in zip(prompts, images, strict=True):
            generation = Generation(
                sample=subject.id,
                caption=subject.caption,
                seeds=(0,),
                images=image[None],
                originals=image[None][:0],
                other_caption=subject.other_caption,
            )
            for value in next(iter(judge.measure([generation]))):
                found.setdefault(value.metric, []).append(value.value)
        return found[ALIGNED], found[SHUFFLED]

    def _draw(self, part: Part, subjects: Sequence[Subject], seeds: Sequence[int]) -> Tensor:
        """Images `[subjects, 3, height, width]` on the CPU, of the noise that a run uses."""
        model, size = self.session.model, self.session.batch_size
        branch = self.session.seeds.child("evaluation")
        images = []
        for start in range(0, len(subjects), size):
            batch = subjects[start : start + size]
            generators = [
                branch.generator(subject.id, seed)
                for subject, seed in zip(batch, seeds[start : start + size], strict=True)
            ]
            with self._without(part):
                drawn = model.sample(
                    model.encode_prompt([subject.caption for subject in batch]),
                    generators,
                    torch.arange(len(batch), device=model.device),
                )
            # What is no picture any more is judged as black.
            images.append(drawn.cpu().nan_to_num(0.0))
        return torch.cat(images)

    def _without(self, part: Part) -> AbstractContextManager[None]:
        unet = self.session.model.unet
        steps = range(part.first_step, part.last_step + 1)
        return knocked_out(unet, list(self._layers(part)), steps)

    def _layers(self, part: Part) -> Iterator[str]:
        if part.kind is not None:
            yield from [part.layer] if part.layer else layers_of(self.session.model.unet, part.kind)
