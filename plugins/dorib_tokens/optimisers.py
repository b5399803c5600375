"""From gradients in tokens' vectors to the tokens to try next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize


class Optimiser(ABC):
    """Where the token searches of one batch stand."""

    @abstractmethod
    def tokens(self) -> Tensor:
        """Ids `[B, tokens]` at which the next gradient is to be taken."""

    @abstractmethod
    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """Move by the gradients there, `[B, tokens, width]` float32 by text encoder."""


class Simplex(Optimiser):
    """A distribution over the vocabulary for each token; tokens are drawn from it.

    The gradient of a drawn token's one-hot row is handed straight to its distribution, clamped to
    [-1, 1]; after a step of Adam each distribution is projected back. Source: Zhang et al.,
    UnlearnDiffAtk, arXiv 2310.11868.
    """

    def __init__(
        self,
        tables: Mapping[str, Tensor],
        plain: Tensor,
        count: int,
        generators: Sequence[torch.Generator],
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        """All distributions uniform over the tokens `plain`."""
        self._tables = {name: table[plain].float() for name, table in tables.items()}
        self._plain = plain
        self._generators = generators
        shape = len(generators), count, len(plain)
        self._shares = torch.full(shape, 1 / len(plain), device=plain.device)
        self._adam = torch.optim.Adam([self._shares], lr=learning_rate, weight_decay=weight_decay)

    def tokens(self) -> Tensor:
        """One drawn from each distribution, by the search's own generator."""
        count = self._shares.shape[1]
        draws = torch.stack([torch.rand(count, 1, generator=g) for g in self._generators])
        up_to = self._shares.cumsum(dim=-1)
        # Shares add up to 1 but for rounding.
        places = torch.searchsorted(up_to, draws.to(up_to) * up_to[..., -1:], right=True)
        return self._plain[places.squeeze(-1).clamp_max(len(self._plain) - 1)]

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """One step of Adam, and back onto the simplex."""
        slope = sum(gradients[name] @ table.T for name, table in self._tables.items())
        assert isinstance(slope, Tensor)
        self._shares.grad = slope.clamp(-1, 1)
        self._adam.step()
        self._shares.copy_(onto_simplex(self._shares))


class Projection(Optimiser):
    """A vector for each token; its nearest token, by cosine, is where gradients are taken.

    Source: Wen et al., PEZ, arXiv 2302.03668, as in Chin et al., P4D, arXiv 2309.06135.
    """

    def __init__(
        self,
        tables: Mapping[str, Tensor],
        plain: Tensor,
        start: Tensor,
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        """At the vectors of the tokens `start`, ids `[B, tokens]`."""
        self._plain = plain
        self._directions = {n: normalize(t[plain].float(), dim=-1) for n, t in tables.items()}
        self._vectors = {n: table[start].float() for n, table in tables.items()}
        self._adamw = torch.optim.AdamW(
            self._vectors.values(), lr=learning_rate, weight_decay=weight_decay
        )

    def tokens(self) -> Tensor:
        """The nearest ones; where there are two text encoders, by the sum of both cosines."""
        cosines = sum(
            normalize(self._vectors[name], dim=-1) @ directions.T
            for name, directions in self._directions.items()
        )
        assert isinstance(cosines, Tensor)
        return self._plain[cosines.argmax(dim=-1)]

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        """One step of AdamW on the vectors, by the gradients at their nearest tokens."""
        for name, vector in self._vectors.items():
            vector.grad = gradients[name]
        self._adamw.step()


def onto_simplex(points: Tensor) -> Tensor:
    """The nearest rows of non-negative numbers that add up to 1, `[..., n]`.

    Source: Duchi et al., ICML 2008, by sorting; UnlearnDiffAtk's code bisects.
    """
    falling = points.sort(dim=-1, descending=True).values
    ranks = torch.arange(1, points.shape[-1] + 1, device=points.device)
    surplus = (falling.cumsum(dim=-1) - 1) / ranks
    kept = (falling > surplus).sum(dim=-1, keepdim=True)
    return (points - surplus.gather(-1, kept - 1)).clamp_min(0)
