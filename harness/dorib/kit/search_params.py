"""What every search can be told, and every one in embedding space."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from dorib.contracts.params import Params

Start: TypeAlias = Literal["prompt", "other", "normal", "random"]


class SearchParams(Params):
    """Base of the parameters of a `StagedSearch`."""

    restarts: int = Field(1, ge=1, description="independent searches that share a budget")


class EmbeddingSearchParams(SearchParams):
    """Base of the parameters of an `EmbeddingSearch`."""

    start: Start = Field(
        "prompt",
        description="where the search starts: the sample's own prompt, the caption of another "
        "image, standard normal noise (normal, the paper's), or Gaussian noise with the mean and "
        "the standard deviation of all entries of the prompt's embedding (random)",
    )
