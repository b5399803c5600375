"""The search: AdamW on the vectors of a few words, against the denoising loss of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dorib import (
    Embeddings,
    OpenWords,
    PlannedSearch,
    Scale,
    SearchBatch,
    SearchCost,
    SearchState,
    StagedSearch,
    recent_loss,
)
from dorib_inversion import InversionParams


class Inversion(StagedSearch[InversionParams]):
    """Minimises the denoising loss of the original image over the vector of a made-up word.

    The vector goes through the text encoder, so the search has as many dimensions as a word's
    vector where Dori has as many for each token. Where a model has two encoders (SDXL), the word
    has a vector in each. Source: Gal et al., arXiv 2208.01618, as Pham et al., arXiv 2308.01508,
    turn it against erased concepts.
    """

    name = "inversion"
    knows = frozenset({"original image", "prompt", "gradients", "embeddings"})

    def cost(self) -> SearchCost:
        """A forward and a backward pass on each pair."""
        return SearchCost.of_gradients(self.params.pairs, self.params.restarts)

    def planned(self, scale: Scale, budget: int) -> PlannedSearch:
        """As many whole steps as the budget buys; what is found are embeddings."""
        return replace(super().planned(scale, budget), in_words=False)

    def loss(self, trace: Sequence[float]) -> float:
        """The mean of the last steps' losses."""
        return recent_loss(trace)

    def begin(self, batch: SearchBatch) -> SearchState:
        """At the vectors of tokens drawn from the vocabulary.

        Raises:
            DoribError: the encoder does not read as many words.
        """
        return _WordDescent(batch, self.params)


class _WordDescent(SearchState):
    """AdamW on the vectors of one batch, in float32 whatever the text encoder's dtype."""

    def __init__(self, batch: SearchBatch, params: InversionParams) -> None:
        self._batch = batch
        self._pairs = params.pairs
        self._prompts = OpenWords(batch.model, batch.targets, params.words, params.beside)
        drawn = self._prompts.drawn(batch.generators)
        self._vectors = {
            name: table[drawn].float().requires_grad_()
            for name, table in batch.model.token_embeddings().items()
        }
        self._adamw = torch.optim.AdamW(
            self._vectors.values(), lr=params.learning_rate, weight_decay=params.weight_decay
        )

    def step(self) -> Tensor:
        """One step of AdamW; the mean losses over its pairs, `[B]`."""
        losses = self._batch.backward(
            lambda: self._prompts.encoded(self._vectors), self._vectors.values(), self._pairs
        )
        self._adamw.step()
        self._adamw.zero_grad()
        return losses

    @torch.no_grad()
    def embeddings(self) -> Embeddings:
        """What the text encoder makes of the words where they stand, float32."""
        return {name: value.float() for name, value in self._prompts.encoded(self._vectors).items()}
