"""The mitigation: pictures to keep and to forget, and gradient steps between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from statistics import fmean
from typing import Literal

import torch
from torch import Tensor

from dorib import (
    Checkpoints,
    DefenderView,
    Edit,
    Gradient,
    Ledger,
    MethodSpec,
    Mitigation,
    PlannedFit,
    PlannedWork,
    Scale,
    Seeds,
    TargetModel,
    Training,
    drawn_general_pictures,
    training,
)
from dorib_unlearn import UnlearnParams
from dorib_unlearn.draws import Drawing, Draws, Pool, draws
from dorib_unlearn.objectives import OBJECTIVES, Objective
from dorib_unlearn.pools import METHOD, Pictures


class Unlearn(Mitigation[UnlearnParams]):
    """Trains the memorized images out of the U-Net, all of them out of one model.

    Under each memorized caption some pictures are kept, and the original and its copies forgotten.
    Sources: Alberti et al., ICLR 2025 (SISS, and naive deletion, NegGrad and EraseDiff as it
    compares with them); "ReTrack", arXiv 2509.13007.
    """

    def builds_on(self) -> Mapping[str, tuple[Literal["mitigation"], MethodSpec]]:
        """The mitigation under which own pictures are drawn."""
        return {"keep_under": ("mitigation", self.params.keep_under)}

    def planned(self, scale: Scale) -> PlannedFit:
        """The steps, and what is drawn beforehand.

        At most, where general pictures stand in for own ones that are all copies.
        """
        p = self.params
        maker = self.methods["keep_under"]
        assert isinstance(maker, Mitigation)
        made = maker.planned(scale)
        if made is None or made.work is None:
            return PlannedFit(work=None)
        objective = self._objective
        own = PlannedWork(forward=p.pictures * scale.memorized * scale.image)
        draws = p.steps_per_image * scale.memorized * p.gradient_accumulation * p.batch_size
        steps = PlannedWork(gradient=draws * objective.work)
        general = 0
        if objective.keeps and p.keep != "own":
            general = drawn_general_pictures(scale, p.general, p.general_images)
        drawn = PlannedWork(
            forward=general * scale.image,
            exact=not general or p.keep == "general" or p.pictures == 0,
        )
        return PlannedFit(made.work + own + steps + drawn)

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """New values of the U-Net's weights in the model's number format, or low-rank additions.

        `notes` tell how many own pictures are kept and how many are copies, from what correlation
        on, which samples have no own ones and keep general ones, and the mean of each term of the
        loss, pass by pass. With `view.scratch` a killed fit goes on from its last checkpoint and
        ends with the same weights.

        Raises:
            DoribError: there is nothing to calibrate the threshold on, there is nothing to keep, or
                the precision is not to be had.
            ArithmeticError: the loss is no longer finite.
        """
        checkpoints = Checkpoints(view.scratch, ledger)
        pictures = self._pictures(model, view, seeds, ledger, checkpoints)
        pools = pictures.pools(model, view, self.params)
        with training(model, self.params, seeds, METHOD) as trained:
            trace = self._train(trained, model, pools, seeds, checkpoints)
            change = trained.change()
        return Edit(change, notes={**pictures.notes, "losses": self._by_pass(trace, len(pools))})

    @cached_property
    def _objective(self) -> Objective:
        return OBJECTIVES[self.params.loss](self.params)

    def _pictures(
        self,
        model: TargetModel,
        view: DefenderView,
        seeds: Seeds,
        ledger: Ledger,
        checkpoints: Checkpoints,
    ) -> Pictures:
        state = checkpoints.load("pictures")
        if state is not None:
            return Pictures(**state)
        maker = self.methods["keep_under"]
        assert isinstance(maker, Mitigation)
        own = replace(view, scratch=view.scratch / "keep-under" if view.scratch else None)
        under = maker.fit(model, own, seeds.child("keep under"), ledger)
        keeps = self._objective.keeps
        pictures = Pictures.of(model, view, self.params, under, keeps, seeds.child("pictures"))
        checkpoints.save("pictures", vars(pictures))
        return pictures

    def _train(
        self,
        trained: Training,
        model: TargetModel,
        pools: Sequence[Pool],
        seeds: Seeds,
        checkpoints: Checkpoints,
    ) -> list[list[float]]:
        """Take all steps; the mean of each term at each step."""
        state = checkpoints.load("training") or {"steps": 0, "trace": []}
        trace: list[list[float]] = state["trace"]
        if state["steps"]:
            trained.restore(state)
        for step in range(state["steps"], self.params.steps_per_image * len(pools)):
            trace.append(self._step(trained, model, pools, step, seeds))
            if (step + 1) % self.params.checkpoint_every == 0:
                checkpoints.save("training", {"steps": step + 1, "trace": trace, **trained.state()})
        return trace

    def _step(
        self,
        trained: Training,
        model: TargetModel,
        pools: Sequence[Pool],
        step: int,
        seeds: Seeds,
    ) -> list[float]:
        """Take one step; the mean of each term."""
        entries = math.prod(model.latent_shape)
        means: list[list[float]] = []

        def losses(batch: int) -> list[Tensor]:
            drawn = self._draws(model, pools, step, batch, seeds)
            terms = [term.mean() for term in self._objective.losses(model, drawn)]
            means.append([term.item() for term in terms])
            return terms

        def combined(gradients: Sequence[Gradient]) -> Gradient:
            # Lengths are those of errors summed over a latent, as published. Here, since in half
            # precision sums would be beyond the range on their way through the U-Net.
            return [entries * part for part in self._objective.combined(gradients)]

        trained.step_on_several(losses, combined)
        return [fmean(of_term) for of_term in zip(*means, strict=True)]

    def _draws(
        self, model: TargetModel, pools: Sequence[Pool], step: int, batch: int, seeds: Seeds
    ) -> Draws:
        """Draws are numbered throughout the fit, so that the size of batches leaves them alone."""
        p = self.params
        first = (step * p.gradient_accumulation + batch) * p.batch_size
        numbers = range(first, first + p.batch_size)
        how = Drawing(p.balance, p.neighbours, p.timesteps == "last")
        chosen = [pools[_place(number, len(pools), seeds)] for number in numbers]
        return draws(model, chosen, numbers, how, seeds.child("draws"))

    def _by_pass(self, trace: Sequence[Sequence[float]], images: int) -> list[dict[str, float]]:
        """The terms' means over as many steps as there are images."""
        passes = [trace[start : start + images] for start in range(0, len(trace), images)]
        return [
            {
                term: fmean(of_step[place] for of_step in steps)
                for place, term in enumerate(self._objective.terms)
            }
            for steps in passes
        ]


def _place(number: int, images: int, seeds: Seeds) -> int:
    """Which image a draw is of: all in turn, in an order drawn for each round."""
    turn, place = divmod(number, images)
    order = torch.randperm(images, generator=seeds.generator("order", turn))
    return int(order[place])
