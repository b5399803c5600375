"""The base of searches in embedding space."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch

from dorib.contracts.embeddings import Embeddings, unstacked
from dorib.contracts.methods import PlannedSearch, Scale
from dorib.contracts.seeds import Seeds
from dorib.contracts.target_model import TargetModel
from dorib.contracts.views import Target
from dorib.kit.search_params import EmbeddingSearchParams
from dorib.kit.staged_search import Asking, SearchBatch, StagedSearch, StagedState
from dorib.kit.starts import starting_embeddings

S = TypeVar("S", bound=EmbeddingSearchParams)


class SearchState(StagedState):
    """Where the searches of one batch stand in embedding space."""

    @abstractmethod
    def embeddings(self) -> Embeddings:
        """Where they stand now, by name `[B, ...]`, float32."""

    def asking(self) -> Sequence[Asking]:
        """Their embeddings, item by item."""
        found = {name: value.detach().cpu() for name, value in self.embeddings().items()}
        return [
            {"embeddings": {name: value.clone() for name, value in row.items()}}
            for row in unstacked(found)
        ]


class EmbeddingSearch(StagedSearch[S]):
    """A search over the text encoder's output against the denoising loss of the original image."""

    def planned(self, scale: Scale, budget: int) -> PlannedSearch:
        """As many whole steps as the budget buys, for triggers that are embeddings.

        Raises:
            DoribError: it buys none.
        """
        return replace(super().planned(scale, budget), in_words=False)

    @abstractmethod
    def begin(self, batch: SearchBatch) -> SearchState:
        """The searches of `batch` at their start, after the work of `cost().start`.

        Raises:
            DoribError: a target lacks what the search needs.
        """

    def starts(
        self, model: TargetModel, targets: Sequence[Target], generators: Sequence[torch.Generator]
    ) -> Embeddings:
        """Where each search starts, by name `[B, ...]`, float32: as the parameters ask.

        Raises:
            DoribError: there is no other caption to start from.
        """
        return starting_embeddings(model, targets, generators, self.params.start)

    def starting_points(
        self, model: TargetModel, targets: Sequence[Target], restarts: Sequence[int], seeds: Seeds
    ) -> Embeddings:
        """Where `search`, with the same seeds, starts for each target and restart, float32.

        A target may occur several times.

        Raises:
            DoribError: there is no other caption to start from.
        """
        pairs = zip(targets, restarts, strict=True)
        generators = [seeds.generator(target.sample, restart) for target, restart in pairs]
        return self.starts(model, targets, generators)
