"""Training captions away: pictures first, then steps, both of which a killed fit goes on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from torch import Tensor

from dorib import Checkpoints, DefenderView, Edit, Ledger, Seeds, TargetModel, Training, training
from dorib_concept import ConceptParams
from dorib_concept.lessons import Erased, draw, erased, lessons
from dorib_concept.objectives import Ablation, Erasure, Objective

METHOD = "mitigation concept"
OBJECTIVES: Mapping[str, type[Objective]] = {"esd": Erasure, "ablation": Ablation}


def fine_tuned(
    params: ConceptParams, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger
) -> Edit:
    """New values of the weights that are trained, or low-rank additions to them.

    `notes` hold the mean of each term of the loss, pass by pass over the captions.

    Raises:
        DoribError: the suite has no general captions, and some are asked for; or the precision is
            not to be had.
        ArithmeticError: the loss is no longer finite.
    """
    fit = _Fit(params, model, seeds, Checkpoints(view.scratch, ledger))
    captions = fit.captions(view)
    with training(model, params, seeds, METHOD) as trained:
        trace = fit.train(trained, captions)
        change = trained.change()
    return Edit(change, notes={"losses": _by_pass(trace, len(captions))})


class _Fit:
    """One fit, on a model that is as it was until `train`."""

    def __init__(
        self, params: ConceptParams, model: TargetModel, seeds: Seeds, checkpoints: Checkpoints
    ) -> None:
        self._params, self._model, self._seeds = params, model, seeds
        self._checkpoints = checkpoints
        self._objective = OBJECTIVES[params.method](params)

    def captions(self, view: DefenderView) -> list[Erased]:
        """What is trained on, and towards."""
        p, objective, seeds = self._params, self._objective, self._seeds
        wanted = objective.anchors(view, seeds)
        state = self._checkpoints.load("pictures")
        if state is None:
            drawn, branch = objective.drawn(view, seeds), seeds.child("pictures")
            latents = draw(self._model, view.memorized, drawn, p.pictures, branch, p.drawn_together)
            state = {"latents": latents}
            self._checkpoints.save("pictures", state)
        found = erased(self._model, view.memorized, wanted, state["latents"])
        count = self._steps(found) * p.gradient_accumulation * p.batch_size
        objective.ready(self._model, found, count, seeds, self._checkpoints)
        return found

    def train(self, trained: Training, captions: Sequence[Erased]) -> list[dict[str, float]]:
        """Take all steps; the terms of the loss at each."""
        state: dict[str, Any] | None = self._checkpoints.load("training")
        trace: list[dict[str, float]] = state["trace"] if state else []
        if state:
            trained.restore(state)
        while len(trace) < self._steps(captions):
            trace.append(self._step(trained, captions, len(trace)))
            if len(trace) % self._params.checkpoint_every == 0:
                self._checkpoints.save("training", {"trace": trace, **trained.state()})
        return trace

    def _step(self, trained: Training, captions: Sequence[Erased], step: int) -> dict[str, float]:
        p = self._params
        seen: list[dict[str, float]] = []

        def loss(batch: int) -> Tensor:
            first = (step * p.gradient_accumulation + batch) * p.batch_size
            numbers = range(first, first + p.batch_size)
            drawn = lessons(self._model, captions, numbers, self._seeds)
            terms = self._objective.terms(self._model, drawn)
            seen.append({name: term.item() for name, term in terms.items()})
            first_term, *others = terms.values()
            return sum(others, start=first_term)

        trained.step(loss)
        return {name: fmean(terms[name] for terms in seen) for name in seen[0]}

    def _steps(self, captions: Sequence[Erased]) -> int:
        return self._params.steps_per_caption * len(captions)


def _by_pass(trace: Sequence[dict[str, float]], captions: int) -> list[dict[str, float]]:
    passes = [trace[start : start + captions] for start in range(0, len(trace), captions)]
    return [{name: fmean(step[name] for step in steps) for name in steps[0]} for steps in passes]
