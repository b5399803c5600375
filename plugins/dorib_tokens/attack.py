"""The search: tokens before the caption, by gradients, judged as the prompts that they spell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dorib import (
    Asking,
    OpenWords,
    SearchBatch,
    SearchCost,
    StagedSearch,
    StagedState,
    Target,
    TargetModel,
)
from dorib_tokens import TokensParams
from dorib_tokens.optimisers import Optimiser, Projection, Simplex

WORK_PER_PAIR = 3
"""One item through the U-Net forward (1) and backward (2)."""


class TokenSearch(StagedSearch[TokensParams]):
    """Minimises the denoising loss of the original image over words that anyone can type.

    In each step the gradient is taken at tokens; the prompt that they spell, read by the tokenizer
    as if it had been typed, is judged on pairs that stay the same throughout, and the best prompt
    so far is what is found. So its token ids are always those of its words.
    """

    name = "tokens"
    knows = frozenset({"original image", "prompt", "gradients", "tokens"})

    def cost(self) -> SearchCost:
        """A forward and a backward pass on each pair, and a forward pass on each judging pair."""
        p = self.params
        return SearchCost(
            step=p.restarts * (p.pairs * WORK_PER_PAIR + p.judging_pairs),
            factors=f"{p.restarts} restarts x ({p.pairs} pairs x {WORK_PER_PAIR} + "
            f"{p.judging_pairs} judging_pairs)",
            gradients=p.restarts * p.pairs * WORK_PER_PAIR,
        )

    def begin(self, batch: SearchBatch) -> StagedState:
        """With distributions that know nothing, or at tokens drawn from the vocabulary.

        Raises:
            DoribError: the encoder does not read as many tokens.
        """
        return _Words(batch, self.params)


class _Words(StagedState):
    """The searches of one batch: an optimiser, and the best prompts so far."""

    def __init__(self, batch: SearchBatch, params: TokensParams) -> None:
        self._batch = batch
        self._pairs = params.pairs
        self._prompts = OpenWords(batch.model, batch.targets, params.tokens, params.beside)
        self._caption = params.beside == "caption"
        self._tables = batch.model.token_embeddings()
        self._optimiser = self._begun(params)
        # The restarts of a target share them.
        judges = [batch.seeds.generator(target.sample, "judging") for target in batch.targets]
        self._judging = [batch.pairs(judges) for _ in range(params.judging_pairs)]
        self._lowest = torch.full((len(batch.targets),), torch.inf, device=batch.model.device)
        self._best = [""] * len(batch.targets)

    def step(self) -> Tensor:
        """Try the optimiser's tokens, and move it; the lowest judged losses so far, `[B]`."""
        tokens = self._optimiser.tokens()
        vectors = {n: table[tokens].float().requires_grad_() for n, table in self._tables.items()}
        self._batch.backward(lambda: self._prompts.encoded(vectors), vectors.values(), self._pairs)
        gradients = {name: value.grad for name, value in vectors.items() if value.grad is not None}
        self._optimiser.step(gradients)
        spelt = zip(tokens.tolist(), self._batch.targets, strict=True)
        self._keep([self._spelt(*row) for row in spelt])
        return self._lowest

    def asking(self) -> Sequence[Asking]:
        """The best prompts with their token ids."""
        return [{"prompt": p, "tokens": ids_of(self._batch.model, p)} for p in self._best]

    def _begun(self, params: TokensParams) -> Optimiser:
        plain, rate, decay = self._prompts.plain, params.learning_rate, params.weight_decay
        generators = self._batch.generators
        if params.optimiser == "projection":
            start = self._prompts.drawn(generators)
            return Projection(self._tables, plain, start, rate or 0.1, decay)
        return Simplex(self._tables, plain, params.tokens, generators, rate or 0.01, decay)

    def _spelt(self, tokens: Sequence[int], target: Target) -> str:
        words = typed(self._batch.model.detokenize(tokens))
        return " ".join(filter(None, (words, target.caption if self._caption else "")))

    @torch.no_grad()
    def _keep(self, prompts: Sequence[str]) -> None:
        embeddings = self._batch.model.encode_prompt(prompts)
        judged = [self._batch.losses(embeddings, pairs) for pairs in self._judging]
        losses = torch.stack(judged).mean(dim=0)
        better = losses < self._lowest
        self._lowest = torch.where(better, losses, self._lowest)
        for row in better.nonzero().flatten().tolist():
            self._best[row] = prompts[row]


def typed(words: str) -> str:
    """Words without the characters that no text holds: NUL, a token of its own, and surrogates."""
    return "".join(one for one in words if one != "\0" and not "\ud800" <= one <= "\udfff").strip()


def ids_of(model: TargetModel, prompt: str) -> tuple[int, ...]:
    """The token ids that `prompt` is read as, begin, end and padding left out."""
    read = model.tokenize([prompt])
    return tuple(read.ids[0, 1 : int(read.lengths[0]) - 1].tolist())
