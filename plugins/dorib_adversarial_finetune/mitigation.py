"""The mitigation: search, take a gradient step against what was found, search again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, Literal

import torch
from torch import Tensor

from dorib import (
    Attack,
    Checkpoints,
    DefenderView,
    DoribError,
    Edit,
    Embeddings,
    GeneralPrompt,
    Ledger,
    MethodSpec,
    Mitigation,
    PlannedFit,
    Scale,
    Seeds,
    Target,
    TargetModel,
    Training,
    Trigger,
    copy_threshold,
    general_pictures,
    general_prompts,
    training,
    unstacked,
)
from dorib_adversarial_finetune import AdversarialFinetuneParams
from dorib_adversarial_finetune.cost import planned_work
from dorib_adversarial_finetune.lessons import Found, Pictures, Shares, lesson, losses
from dorib_adversarial_finetune.surrogates import surrogates

METHOD = "mitigation adversarial-finetune"


class AdversarialFinetune(Mitigation[AdversarialFinetuneParams]):
    """Fine-tunes the U-Net against embeddings found on the weights as they are by then.

    For each memorized image in turn searches start afresh; a gradient step then teaches the
    embeddings they found to give a surrogate image, and general captions to give their pictures.
    Where no surrogate is left for an image, its embedding is taught to predict what no prompt
    predicts. The denoising losses are those of the raw output in the model's own parametrisation.
    General pairs are the suite's, or pictures that the untouched model draws where it has captions
    only. Source: Kowalczuk et al., "Finding DoRI", arXiv 2507.16880v3.
    """

    def builds_on(self) -> Mapping[str, tuple[Literal["attack", "mitigation"], MethodSpec]]:
        """The search and, where surrogates are wanted, what makes them."""
        if self.params.target == "empty_prompt":
            return {"search": ("attack", self.params.search)}
        return {
            "search": ("attack", self.params.search),
            "surrogate": ("mitigation", self.params.surrogate),
        }

    def planned(self, scale: Scale) -> PlannedFit:
        """Searches, gradient steps, and what is drawn beforehand.

        At most, where there may be images without a surrogate: each takes one pass more.
        """
        return PlannedFit(planned_work(self.params, self.methods, scale))

    def fit(self, model: TargetModel, view: DefenderView, seeds: Seeds, ledger: Ledger) -> Edit:
        """New values of the U-Net's weights in the model's number format, or low-rank additions.

        `notes` tell how many surrogates were kept, from what threshold, for which samples none
        was, what the general pairs are, and each epoch's mean losses. With `view.scratch` a killed
        fit goes on from its last checkpoint and ends with the same weights.

        Raises:
            DoribError: there is nothing to calibrate the threshold on, there are no general
                captions or, where real pairs are asked for, no general images, or the precision is
                not to be had; or the search or the surrogate maker refuses its settings.
            ArithmeticError: the loss is no longer finite.
        """
        checkpoints = Checkpoints(view.scratch, ledger)
        pictures, notes = self._pictures(model, view, seeds, ledger, checkpoints)
        with training(model, self.params, seeds, METHOD) as trained:
            trace = self._train(trained, model, view.memorized, pictures, seeds, checkpoints)
            change = trained.change()
        return Edit(change, notes={**notes, "losses": self._by_epoch(trace)})

    def _train(
        self,
        trained: Training,
        model: TargetModel,
        memorized: Sequence[Target],
        pictures: Pictures,
        seeds: Seeds,
        checkpoints: Checkpoints,
    ) -> list[list[float]]:
        """Go through all rounds; epoch, memorized loss and general loss of each step."""
        state = checkpoints.load("training") or {"rounds": 0, "trace": []}
        trace: list[list[float]] = state["trace"]
        if state["rounds"]:
            trained.restore(state)
        for number, (epoch, targets) in enumerate(self._rounds(memorized, seeds), start=1):
            if number <= state["rounds"]:
                continue
            with trained.autocast():
                found = self._search(model, targets, seeds.child("search", epoch))
            for step in range(self.params.steps_per_search):
                # The branch is named by epoch and sample, so that batches leave it alone.
                branch = seeds.child("noise", epoch, step)
                trace += self._step(trained, model, pictures, found, branch, epoch)
            if number % self.params.checkpoint_every == 0:
                checkpoints.save("training", {"rounds": number, "trace": trace, **trained.state()})
        return trace

    def _step(
        self,
        trained: Training,
        model: TargetModel,
        pictures: Pictures,
        found: Sequence[Found],
        seeds: Seeds,
        epoch: int,
    ) -> list[list[float]]:
        trace: list[list[float]] = []
        shares = Shares(self.params.prompt_share, self.params.found_share)

        def loss(batch: int) -> Tensor:
            drawn = lesson(model, pictures, found, shares, seeds.child(batch))
            each = losses(model, drawn)
            own = each[: drawn.memorized].mean()
            # Without general pairs there is nothing to take a mean of.
            general = each[drawn.memorized :].sum() / max(1, len(each) - drawn.memorized)
            trace.append([epoch, own.item(), general.item()])
            return own + self.params.utility_weight * general

        trained.step(loss)
        return trace

    def _rounds(
        self, memorized: Sequence[Target], seeds: Seeds
    ) -> list[tuple[int, Sequence[Target]]]:
        """Which targets are searched for together, epoch by epoch, in an order drawn for each."""
        size = self.params.batch_size
        rounds: list[tuple[int, Sequence[Target]]] = []
        for epoch in range(self.params.epochs):
            lot = torch.randperm(len(memorized), generator=seeds.generator("order", epoch))
            order = [memorized[i] for i in lot.tolist()]
            rounds += [(epoch, order[i : i + size]) for i in range(0, len(order), size)]
        return rounds

    def _search(self, model: TargetModel, targets: Sequence[Target], seeds: Seeds) -> list[Found]:
        """What searches find for each target on the weights as they are."""
        prompts = [_master(row) for row in unstacked(model.encode_targets(targets))]
        found = []
        for number in range(self.params.embeddings_per_image):
            triggers = self._triggers(model, targets, seeds.child(number))
            found += [
                Found(target, number, prompt, _embeddings(model, triggers[target.sample]))
                for target, prompt in zip(targets, prompts, strict=True)
            ]
        return found

    def _triggers(
        self, model: TargetModel, targets: Sequence[Target], seeds: Seeds
    ) -> dict[str, Trigger]:
        """By sample, the trigger of lowest loss of one search."""
        attack = self.methods["search"]
        assert isinstance(attack, Attack)
        best: dict[str, Trigger] = {}
        # A ledger of its own: a search may read there how much of its budget is spent.
        ledger = Ledger()
        with model.counting(ledger):
            budgets = (self.params.search_budget,)
            for trigger in attack.search(model, targets, budgets, seeds, ledger):
                known = best.setdefault(trigger.sample, trigger)
                if trigger.loss is not None and known.loss is not None:
                    best[trigger.sample] = min(known, trigger, key=lambda one: one.loss or 0.0)
        return best

    def _pictures(
        self,
        model: TargetModel,
        view: DefenderView,
        seeds: Seeds,
        ledger: Ledger,
        checkpoints: Checkpoints,
    ) -> tuple[Pictures, dict[str, Any]]:
        originals = torch.stack([target.original for target in view.memorized])
        general = self._general_prompts(view, seeds)
        state = checkpoints.load("pictures")
        if state is None:
            state = self._draw(model, view, general, originals, seeds, ledger)
            checkpoints.save("pictures", state)
        captions = [caption for caption, _ in general]
        encoded = unstacked(model.encode_prompt(captions or [""]))
        pictures = Pictures(
            state["surrogates"],
            model.encode_image(originals).float().cpu(),
            state["general"],
            [_master(row) for row in encoded[: len(captions)]],
        )
        return pictures, state["notes"]

    def _general_prompts(self, view: DefenderView, seeds: Seeds) -> list[GeneralPrompt]:
        """None without utility loss."""
        p = self.params
        if p.utility_weight == 0:
            return []
        prompts = general_prompts(view, p.general, p.general_images, seeds, METHOD)
        if not prompts:
            raise DoribError(
                f"{METHOD}: the suite has no general captions for the utility loss; add some, or "
                "set utility_weight=0"
            )
        return prompts

    def _draw(
        self,
        model: TargetModel,
        view: DefenderView,
        prompts: Sequence[GeneralPrompt],
        originals: Tensor,
        seeds: Seeds,
        ledger: Ledger,
    ) -> dict[str, Any]:
        p = self.params
        general = general_pictures(model, prompts, seeds.child("general"), p.batch_size)
        notes: dict[str, Any] = {}
        if prompts:
            made = "real" if prompts[0].pair else "drawn"
            notes = {"general_pairs": len(general), "general_pairs_are": made}
        if p.target == "empty_prompt":
            nothing = [general[:0]] * len(originals)
            return {"surrogates": nothing, "general": general, "notes": notes}
        threshold = p.similarity_threshold
        if threshold is None:
            threshold = copy_threshold(originals, METHOD)
        maker = self.methods["surrogate"]
        assert isinstance(maker, Mitigation)
        own = replace(view, scratch=view.scratch / "surrogate" if view.scratch else None)
        edit = maker.fit(model, own, seeds.child("surrogate maker"), ledger)
        with model.edited(edit):
            kept = surrogates(
                model, view.memorized, p.surrogates, threshold, seeds.child("surrogates"),
                p.batch_size,
            )  # fmt: skip
        without = [t.sample for t, k in zip(view.memorized, kept, strict=True) if not len(k)]
        notes |= {
            "similarity_threshold": threshold,
            "surrogates_drawn": p.surrogates * len(kept),
            "surrogates_kept": sum(len(k) for k in kept),
            "samples_without_surrogate": without,
        }
        return {"surrogates": kept, "general": general, "notes": notes}

    def _by_epoch(self, trace: Sequence[Sequence[float]]) -> list[dict[str, float]]:
        rows = [[row for row in trace if row[0] == epoch] for epoch in range(self.params.epochs)]
        return [
            {"memorized": fmean(r[1] for r in row), "general": fmean(r[2] for r in row)}
            for row in rows
        ]


def _embeddings(model: TargetModel, trigger: Trigger) -> Embeddings:
    if trigger.prompt is not None:
        return _master(unstacked(model.encode_prompt([trigger.prompt]))[0])
    return _master(trigger.embeddings)


def _master(row: Embeddings) -> Embeddings:
    return {name: value.float().cpu() for name, value in row.items()}
