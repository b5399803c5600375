"""The part of a target model that reads text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from typing_extensions import override

from dorib.contracts.embeddings import Embeddings, Tokens, stacked, unstacked
from dorib.contracts.target_model import TargetModel
from dorib.contracts.views import Target
from dorib.target.text import conditioning
from dorib.target.text import tokens as reading


class PipelineText(TargetModel):
    """The text encoders and tokenizers of a diffusers pipeline."""

    pipeline: Any

    @property
    @override
    def conditioning(self) -> frozenset[str]:
        return conditioning.names(self.pipeline)

    @override
    def encode_prompt(self, prompts: Sequence[str]) -> Embeddings:
        return conditioning.encode_prompt(self.pipeline, prompts, self.device)

    @override
    def encode_targets(self, targets: Sequence[Target]) -> Embeddings:
        captions = self.encode_prompt([target.caption for target in targets])
        own = [target.embeddings for target in targets]
        rows = zip(own, unstacked(captions), strict=True)
        return (
            stacked(
                [
                    {
                        name: value.to(self.device, self.dtype)
                        for name, value in (given or row).items()
                    }
                    for given, row in rows
                ]
            )
            if targets
            else captions
        )

    @override
    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        return reading.tokenize(self.pipeline, prompts)

    @override
    def detokenize(self, ids: Sequence[int]) -> str:
        return reading.detokenize(self.pipeline, ids)

    @override
    def tokens_of(self, ids: Sequence[Sequence[int]]) -> Tokens:
        return reading.tokens_of(self.pipeline, ids)

    @override
    def token_embeddings(self) -> Mapping[str, Tensor]:
        return reading.token_embeddings(self.pipeline)

    @override
    def token_vectors(self, tokens: Tokens) -> Mapping[str, Tensor]:
        return reading.token_vectors(self.pipeline, tokens)

    @override
    def encode_tokens(
        self, tokens: Tokens, vectors: Mapping[str, Tensor] | None = None
    ) -> Embeddings:
        return reading.encode_tokens(self.pipeline, tokens, vectors, self.device)
