"""The attack."""

import torch
from torch import Tensor

from dorib import Embeddings, EmbeddingSearch, SearchBatch, SearchCost, SearchState
from dorib_example_attack import ExampleAttackParams


class ExampleAttack(EmbeddingSearch[ExampleAttackParams]):
    """A step costs two forward passes: where a search stands, and where it might go."""

    name = "example-attack"
    knows = frozenset({"original image", "prompt", "embeddings"})

    def cost(self) -> SearchCost:
        """Two U-Net items a step and restart."""
        restarts = self.params.restarts
        return SearchCost(step=2 * restarts, factors=f"2 x {restarts} restarts")

    def begin(self, batch: SearchBatch) -> SearchState:
        """Start at the batch's starts."""
        return Walk(batch, self.params.stride)


class Walk(SearchState):
    """Where the searches of one batch stand."""

    def __init__(self, batch: SearchBatch, stride: float) -> None:
        self.batch, self.stride, self.at = batch, stride, dict(batch.start)

    @torch.no_grad()
    def step(self) -> Tensor:
        """Move where that lowers the loss; gives each search's loss."""
        before = self.at["prompt_embeds"]
        moves = [torch.randn(before.shape[1:], generator=g) for g in self.batch.generators]
        tried = before + self.stride * torch.stack(moves).to(before)
        pairs = self.batch.pairs()
        here = self.batch.losses(self.at, pairs)
        there = self.batch.losses({**self.at, "prompt_embeds": tried}, pairs)
        better = (there < here)[:, None, None]
        self.at["prompt_embeds"] = torch.where(better, tried, before)
        return torch.minimum(here, there)

    def embeddings(self) -> Embeddings:
        """Where they stand."""
        return self.at
