"""The search itself: Adam on the text embedding, against the denoising loss of one image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dorib import Embeddings, EmbeddingSearch, SearchBatch, SearchCost, SearchState, recent_loss
from dorib_dori import DoriParams


class Dori(EmbeddingSearch[DoriParams]):
    """Minimises the denoising loss of the original image over the text encoder's output.

    Where a model has pooled embeddings (SDXL), they are searched as well.

    The loss is that of the raw output in the model's own parametrisation, conditional only. Source:
    Kowalczuk et al., "Finding Dori", arXiv 2507.16880.
    """

    name = "dori"
    knows = frozenset({"original image", "prompt", "gradients", "embeddings"})

    def cost(self) -> SearchCost:
        """A forward and a backward pass on each pair."""
        return SearchCost.of_gradients(self.params.pairs, self.params.restarts)

    def begin(self, batch: SearchBatch) -> SearchState:
        """At the start that was asked for."""
        return _Descent(batch, self.params)

    def loss(self, trace: Sequence[float]) -> float:
        """The mean of the last steps' losses."""
        return recent_loss(trace)


class _Descent(SearchState):
    """Adam on the embeddings of one batch."""

    def __init__(self, batch: SearchBatch, params: DoriParams) -> None:
        self._batch = batch
        self._pairs = params.pairs
        # The optimiser needs full precision whatever the model's: these are the master copies.
        self._embeddings = {n: value.clone().requires_grad_() for n, value in batch.start.items()}
        self._adam = torch.optim.Adam(self._embeddings.values(), lr=params.learning_rate)

    def step(self) -> Tensor:
        """One step of Adam; the mean losses over its pairs, `[B]`."""
        leaves = self._embeddings
        losses = self._batch.backward(lambda: leaves, leaves.values(), self._pairs)
        self._adam.step()
        self._adam.zero_grad()
        return losses

    def embeddings(self) -> Embeddings:
        """The master copies."""
        return self._embeddings
