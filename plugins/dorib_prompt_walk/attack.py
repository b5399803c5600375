"""The walk: words are put in, taken out and exchanged, and kept where the score rises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dorib import (
    Asking,
    DoribError,
    SearchBatch,
    SearchCost,
    StagedSearch,
    StagedState,
    first_step,
)
from dorib_prompt_walk import PromptWalkParams

WORK_PER_NOISE = 2
"""One item with the prompt, and one without."""
EDITS = "insert", "delete", "exchange"


class PromptWalk(StagedSearch[PromptWalkParams]):
    """Raises a sign of memorization over prompts, starting from the sample's caption.

    The words that are put in are those of captions of other images. The signs are Wen et al.'s
    (arXiv 2407.21720) and Webster's (arXiv 2305.08694); that walks of words find memorized images
    by them is from MemBench (Hong et al.), whose proposals come from a language model.
    """

    name = "prompt-walk"
    knows = frozenset({"prompt"})
    feels = frozenset({"prompt", "attention"})

    def cost(self) -> SearchCost:
        """A pass with and one without the prompt on each noise, as for the caption at the start."""
        p = self.params
        each = p.restarts * p.noises * WORK_PER_NOISE
        factors = f"{p.restarts} restarts x {p.noises} noises x {WORK_PER_NOISE}"
        return SearchCost(step=each, factors=factors, start=each)

    def begin(self, batch: SearchBatch) -> StagedState:
        """At the captions, once they are scored.

        Raises:
            DoribError: a target comes without captions of other images.
        """
        return _Walk(batch, self.params)


class _Walk(StagedState):
    """The prompts where the walks of one batch stand, as words."""

    def __init__(self, batch: SearchBatch, params: PromptWalkParams) -> None:
        self._batch = batch
        self._params = params
        self._vocabularies = [_words_of(target.other_captions) for target in batch.targets]
        for target, words in zip(batch.targets, self._vocabularies, strict=True):
            if not words:
                raise DoribError(
                    f"attack prompt-walk: sample {target.sample} comes with no captions of other "
                    "images, whose words are tried; add general captions to the suite"
                )
        # The restarts of a target share its noises.
        sources = [batch.seeds.generator(target.sample, "noise") for target in batch.targets]
        shape = params.noises, *batch.model.latent_shape
        self._noises = torch.stack([torch.randn(shape, generator=g) for g in sources])
        self._at = [target.caption.split() for target in batch.targets]
        self._scores = self._scored(self._at)

    def step(self) -> Tensor:
        """Try one edit of each prompt; the negative scores where they stand then, `[B]`."""
        rows = zip(self._at, self._vocabularies, self._batch.generators, strict=True)
        tried = [edited(*row) for row in rows]
        scores = self._scored(tried)
        better = scores > self._scores
        self._scores = torch.where(better, scores, self._scores)
        for row in better.nonzero().flatten().tolist():
            self._at[row] = tried[row]
        return -self._scores

    def asking(self) -> Sequence[Asking]:
        """The prompts, as words."""
        return [{"prompt": " ".join(words)} for words in self._at]

    def _scored(self, prompts: Sequence[Sequence[str]]) -> Tensor:
        """The mean score over the noises, float32 `[B]`; not a number is as low as can be."""
        batch = self._batch
        # A rule that draws draws the same for each try, so that tries can be compared.
        drawing = [batch.seeds.generator(target.sample, "rule") for target in batch.targets]
        embeddings = batch.model.encode_request([" ".join(words) for words in prompts], drawing)
        total = torch.zeros(len(prompts), device=batch.model.device)
        for number in range(self._params.noises):
            step = first_step(batch.model, self._noises[:, number], embeddings, batch.samples)
            by_magnitude = self._params.score == "magnitude"
            total += step.magnitudes() if by_magnitude else step.one_step_errors()
        return (total / self._params.noises).nan_to_num(nan=-torch.inf)


def edited(
    words: Sequence[str], vocabulary: Sequence[str], generator: torch.Generator
) -> list[str]:
    """`words` with one put in, taken out or exchanged, as `generator` draws; never none left."""

    def drawn(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    edit, place, word = EDITS[drawn(3)], drawn(len(words) + 1), vocabulary[drawn(len(vocabulary))]
    if edit == "insert" or not words:
        return [*words[:place], word, *words[place:]]
    place = min(place, len(words) - 1)
    kept = [] if edit == "delete" and len(words) > 1 else [word]
    return [*words[:place], *kept, *words[place + 1 :]]


def _words_of(captions: Sequence[str]) -> list[str]:
    """Each word once, in the order in which they occur."""
    return list(dict.fromkeys(word for caption in captions for word in caption.split()))
