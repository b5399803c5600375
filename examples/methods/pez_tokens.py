"""Token search by projection: vectors move, gradients are taken at their nearest tokens.

Wen et al. 2023, "Hard Prompts Made Easy" (PEZ), NeurIPS, arXiv 2302.03668, turned against a
mitigated model as in Chin et al. 2024 (P4D), ICML, arXiv 2309.06135: 16 tokens and no caption. P4D
tells its best tokens by images that it draws and judges. Here no attack judges images: the lowest
denoising loss on pairs that stay the same tells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from dorib import (
    Asking,
    OpenWords,
    Register,
    SearchBatch,
    SearchCost,
    SearchParams,
    StagedSearch,
    StagedState,
    hookimpl,
)

dorib_contract = 2
NAME = "pez-tokens"


class PezParams(SearchParams):
    """As published by P4D; `restarts` comes with the base."""

    tokens: int = Field(16, ge=1, description="tokens of the prompt")
    rate: float = Field(0.1, gt=0, description="AdamW's learning rate")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's weight decay")
    pairs: int = Field(4, ge=1, description="(timestep, noise) pairs of a gradient")
    judging_pairs: int = Field(4, ge=1, description="pairs by which the best tokens are told")


class PezTokens(StagedSearch[PezParams]):
    """Finds a prompt that anyone can type, for the original's denoising loss."""

    name = NAME
    knows = frozenset({"original image", "gradients", "tokens"})

    def cost(self) -> SearchCost:
        """A gradient on each pair, a forward pass on each judging pair."""
        p = self.params
        gradients = f"3 x {p.pairs} pairs"
        return SearchCost(
            step=p.restarts * (3 * p.pairs + p.judging_pairs),
            factors=f"{p.restarts} restarts x ({gradients} + {p.judging_pairs} judging_pairs)",
        )

    def begin(self, batch: SearchBatch) -> StagedState:
        """At tokens drawn from the vocabulary."""
        return Projected(batch, self.params)


class Projected(StagedState):
    """A vector for each token of each search, `[B, tokens, width]` by text encoder."""

    def __init__(self, batch: SearchBatch, params: PezParams) -> None:
        self.batch, self.params = batch, params
        self.words = OpenWords(batch.model, batch.targets, params.tokens, "nothing")
        self.tables = {n: t.float() for n, t in batch.model.token_embeddings().items()}
        start = self.words.drawn(batch.generators)
        self.vectors = {name: table[start] for name, table in self.tables.items()}
        self.adamw = torch.optim.AdamW(
            self.vectors.values(), lr=params.rate, weight_decay=params.weight_decay
        )
        judges = [batch.seeds.generator(target.sample, "judging") for target in batch.targets]
        self.judging = [batch.pairs(judges) for _ in range(params.judging_pairs)]
        self.best = [(float("inf"), "")] * len(batch.targets)

    def step(self) -> Tensor:
        """Judge the prompts that the nearest tokens spell, and move by the gradients there."""
        nearest = self.nearest()
        spelt = [self.batch.model.detokenize(row) for row in nearest.tolist()]
        for row, found in enumerate(zip(self.judged(spelt).tolist(), spelt, strict=True)):
            self.best[row] = min(self.best[row], found, key=lambda judged: judged[0])
        at = {name: table[nearest].requires_grad_() for name, table in self.tables.items()}
        self.batch.backward(lambda: self.words.encoded(at), at.values(), self.params.pairs)
        for name, vector in self.vectors.items():
            vector.grad = at[name].grad
        self.adamw.step()
        return torch.tensor([loss for loss, _ in self.best])

    def nearest(self) -> Tensor:
        """By cosine, ids `[B, tokens]`; with two text encoders by the sum of both."""
        plain = self.words.plain
        cosines = [
            normalize(vector, dim=-1) @ normalize(self.tables[name][plain], dim=-1).T
            for name, vector in self.vectors.items()
        ]
        return plain[torch.stack(cosines).sum(dim=0).argmax(dim=-1)]

    @torch.no_grad()
    def judged(self, prompts: Sequence[str]) -> Tensor:
        """The mean loss of each on the judging pairs, `[B]`."""
        embeddings = self.batch.model.encode_prompt(prompts)
        losses = [self.batch.losses(embeddings, pairs) for pairs in self.judging]
        return torch.stack(losses).mean(dim=0)

    def asking(self) -> Sequence[Asking]:
        """The best prompts, with the token ids that they are read as."""
        read = self.batch.model.tokenize([prompt for _, prompt in self.best])
        rows = zip(self.best, read.ids.tolist(), read.lengths.tolist(), strict=True)
        return [
            {"prompt": prompt, "tokens": tuple(ids[1 : length - 1])}
            for (_, prompt), ids, length in rows
        ]


@hookimpl
def register_attacks(register: Register) -> None:
    """Bring the attack."""
    summary = "searches a prompt by projected gradients (PEZ, P4D)"
    register(NAME, f"{__name__}:PezTokens", params=PezParams, summary=summary)
