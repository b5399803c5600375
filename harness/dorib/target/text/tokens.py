"""Text as the encoders read it: tokens, their vectors, and embeddings with gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dorib.contracts.embeddings import Embeddings, Tokens
from dorib.target.quiet import quiet
from dorib.target.text.conditioning import has_two_encoders

ENCODERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
"""The names of a pipeline's text encoders, and of their tokenizers."""


def text_encoders(pipeline: Any) -> dict[str, nn.Module]:
    """One, or SDXL's two, by name."""
    found = {name: getattr(pipeline, name, None) for name in ENCODERS}
    return {name: encoder for name, encoder in found.items() if encoder is not None}


def tokenize(pipeline: Any, prompts: Sequence[str]) -> Tokens:
    """Ids and lengths of `prompts`, cut at the encoder's length."""
    with quiet():
        read = pipeline.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=pipeline.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
    return Tokens(read.input_ids, read.attention_mask.sum(dim=1))


def tokens_of(pipeline: Any, rows: Sequence[Sequence[int]]) -> Tokens:
    """Begin, end and padding around each of `rows`.

    Raises:
        ValueError: a row is too long, or an id is none of the vocabulary.
    """
    tokenizer = pipeline.tokenizer
    longest, vocabulary = tokenizer.model_max_length, len(tokenizer)
    ids = torch.full((len(rows), longest), tokenizer.pad_token_id, dtype=torch.int64)
    for place, row in enumerate(rows):
        if len(row) + 2 > longest:
            raise ValueError(f"{len(row)} tokens, where the text encoder reads {longest - 2}")
        if any(not 0 <= one < vocabulary for one in row):
            raise ValueError(f"token ids go from 0 to {vocabulary - 1}")
        whole = [tokenizer.bos_token_id, *row, tokenizer.eos_token_id]
        ids[place, : len(whole)] = torch.tensor(whole)
    return Tokens(ids, torch.tensor([len(row) + 2 for row in rows]))


def detokenize(pipeline: Any, ids: Sequence[int]) -> str:
    """The prompt that `ids` decode to."""
    text: str = pipeline.tokenizer.decode(list(ids), skip_special_tokens=True)
    return text.strip()


def token_embeddings(pipeline: Any) -> dict[str, Tensor]:
    """By text encoder, the vector of each token, `[vocabulary, width]`."""
    tables: dict[str, Tensor] = {}
    for name, encoder in text_encoders(pipeline).items():
        table: nn.Module = encoder.get_input_embeddings()  # type: ignore[operator]
        tables[name] = next(table.parameters()).detach()
    return tables


def token_vectors(pipeline: Any, tokens: Tokens) -> dict[str, Tensor]:
    """By text encoder, the vectors of `tokens` as it pads them, `[B, length, width]`."""
    return {
        name: table[_padded_for(pipeline, name, tokens).to(table.device)]
        for name, table in token_embeddings(pipeline).items()
    }


def encode_tokens(
    pipeline: Any, tokens: Tokens, vectors: Mapping[str, Tensor] | None, device: torch.device
) -> Embeddings:
    """What diffusers' `encode_prompt` makes of the same prompts; gradients reach `vectors`."""
    hidden, pooled = [], None
    two = has_two_encoders(pipeline)
    for name, encoder in text_encoders(pipeline).items():
        ids = _padded_for(pipeline, name, tokens).to(device)
        own = None if vectors is None else vectors[name].to(device)
        with _vectors_in_place(encoder, own):
            output = encoder(ids, output_hidden_states=two)
        # SDXL takes the last layer but one of both, and the second encoder's projection.
        hidden.append(output.hidden_states[-2] if two else output[0])
        pooled = output[0]
    if two:
        assert pooled is not None
        return {"prompt_embeds": torch.cat(hidden, dim=-1), "pooled_prompt_embeds": pooled}
    return {"prompt_embeds": hidden[0]}


def _padded_for(pipeline: Any, name: str, tokens: Tokens) -> Tensor:
    """SDXL's tokenizers share a vocabulary, and pad with different tokens."""
    if name == "text_encoder":
        return tokens.ids
    positions = torch.arange(tokens.ids.shape[1])
    padding = positions[None, :] >= tokens.lengths[:, None].cpu()
    tokenizer = getattr(pipeline, ENCODERS[name])
    return torch.where(padding, tokenizer.pad_token_id, tokens.ids.cpu())


@contextmanager
def _vectors_in_place(encoder: nn.Module, vectors: Tensor | None) -> Iterator[None]:
    """Give `vectors` `[B, length, width]` where the encoder looks its tokens up."""
    with ExitStack() as stack:
        if vectors is not None:
            table: nn.Module = encoder.get_input_embeddings()  # type: ignore[operator]

            def put(module: nn.Module, arguments: Any, looked_up: Tensor) -> Tensor:
                assert vectors is not None
                return vectors.to(looked_up.dtype).expand_as(looked_up)

            stack.callback(table.register_forward_hook(put).remove)
        yield
