"""The sampling rules in force, asked at the places where they act."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dorib.contracts.embeddings import Embeddings
from dorib.contracts.methods import InFlight, Place, Rule, Step
from dorib.errors import DoribError
from dorib.host.admission import admit_embeddings, admit_latents, admit_prompts

if TYPE_CHECKING:
    from dorib.contracts.target_model import TargetModel
    from dorib.target.counting import WorkCounter


class RulesInForce:
    """Those of all edits that are installed, the outermost edit's first."""

    def __init__(self, work: WorkCounter) -> None:
        self._work = work
        self._rules: list[Rule[Any]] = []

    @contextmanager
    def installed(
        self, rule: Rule[Any], unet: nn.Module, in_flight: Callable[[], InFlight]
    ) -> Iterator[None]:
        """Ask `rule` too, for the length of a `with` block.

        Raises:
            DoribError: it acts on guidance, and so does another.
        """
        if "guidance" in rule.acts_on and self.guides:
            raise DoribError("edit: two rules act on guidance; use one of them")
        self._rules.append(rule)
        try:
            if "attention" in rule.acts_on:
                with rule.attending(unet, in_flight):
                    yield
            else:
                yield
        finally:
            self._rules.remove(rule)

    @property
    def guides(self) -> bool:
        """Whether a rule acts on guidance."""
        return bool(self._at("guidance"))

    def rewrite(
        self, model: TargetModel, prompts: Sequence[str], generators: Sequence[torch.Generator]
    ) -> list[str]:
        """What the model is asked with in place of `prompts`."""
        rewritten = list(prompts)
        for rule in self._at("prompt"):
            with self._work.counting_as_rule():
                handed = rule.rewrite(model, rewritten, generators)
            rewritten = admit_prompts(handed, len(prompts))
        return rewritten

    def embed(
        self, model: TargetModel, embeddings: Embeddings, noise: Tensor, samples: Tensor
    ) -> Embeddings:
        """The embeddings to go on with.

        A rule that passes no gradients is left out where one is asked for: a search by gradients
        does not feel it then.
        """
        differentiated = torch.is_grad_enabled() and any(
            value.requires_grad for value in embeddings.values()
        )
        for rule in self._at("embeddings"):
            if self._work.of_rule or (differentiated and not rule.passes_gradients):
                continue
            with self._work.counting_as_rule():
                handed = rule.embed(model, embeddings, noise, samples)
            embeddings = admit_embeddings(handed, embeddings)
        return embeddings

    def start(
        self, model: TargetModel, noise: Tensor, embeddings: Embeddings, samples: Tensor
    ) -> Tensor:
        """The noise that sampling starts from."""
        for rule in self._at("noise"):
            with self._work.counting_as_rule():
                handed = rule.start(model, noise, embeddings, samples)
            noise = admit_latents("start", handed, noise)
        return noise

    def guide(self, step: Step, unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
        """The output to step by."""
        [rule] = self._at("guidance")
        with self._work.counting_as_rule():
            handed = rule.guide(step, unconditional, conditional, scale)
        return admit_latents("guide", handed, conditional)

    def _at(self, place: Place) -> list[Rule[Any]]:
        return [rule for rule in self._rules if place in rule.acts_on]
