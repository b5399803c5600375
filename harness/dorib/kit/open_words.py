"""Prompts whose first words are open, for searches that go through the text encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from dorib.contracts.embeddings import Embeddings
from dorib.contracts.target_model import TargetModel
from dorib.contracts.views import Target
from dorib.errors import DoribError

Beside: TypeAlias = Literal["caption", "nothing"]
"""What follows the open words: each target's caption, cut where the encoder reads no further, or
the end of the prompt."""


class OpenWords:
    """Prompts that begin with `count` words for which vectors are put in."""

    def __init__(
        self, model: TargetModel, targets: Sequence[Target], count: int, beside: Beside
    ) -> None:
        """One prompt for each of `targets`.

        Raises:
            DoribError: the encoder does not read as many words.
        """
        longest = model.tokenize([""]).ids.shape[1] - 2
        if count > longest:
            raise DoribError(
                f"{count} open words, and this text encoder reads {longest} tokens; ask for fewer"
            )
        self.count = count
        self.plain = plain_tokens(model)
        """Ids of the tokens that words are made of, int64 on the model's device."""
        self._model = model
        placeholders = [int(self.plain[0])] * count
        rest = _captions(model, targets) if beside == "caption" else [[] for _ in targets]
        self._tokens = model.tokens_of([(placeholders + row)[:longest] for row in rest])
        self._vectors = model.token_vectors(self._tokens)

    def encoded(self, vectors: Mapping[str, Tensor]) -> Embeddings:
        """The prompts' embeddings, in the model's dtype; gradients reach `vectors`.

        `vectors` `[B, count, width]` by text encoder, in any dtype, are those of the open words.
        """
        after = 1 + self.count
        whole = {
            name: torch.cat([own[:, :1], vectors[name].to(own), own[:, after:]], dim=1)
            for name, own in self._vectors.items()
        }
        return self._model.encode_tokens(self._tokens, whole)

    def drawn(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Ids `[B, count]` of plain tokens, each prompt's drawn by its own generator."""
        shape = (self.count,)
        draws = [torch.randint(len(self.plain), shape, generator=g) for g in generators]
        return self.plain[torch.stack(draws).to(self.plain.device)]


def plain_tokens(model: TargetModel) -> Tensor:
    """Ids of all tokens but begin, end and padding, int64 on the model's device."""
    size = len(next(iter(model.token_embeddings().values())))
    special = set(model.tokens_of([[]]).ids.flatten().tolist())
    plain = [one for one in range(size) if one not in special]
    return torch.tensor(plain, device=model.device)


def _captions(model: TargetModel, targets: Sequence[Target]) -> list[list[int]]:
    tokens = model.tokenize([target.caption for target in targets])
    lengths = tokens.lengths.tolist()
    return [ids[1 : length - 1] for ids, length in zip(tokens.ids.tolist(), lengths, strict=True)]
