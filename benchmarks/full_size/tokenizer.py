"""A tokenizer of CLIP's size that needs no download."""

from __future__ import annotations

from typing import Any

from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"


def byte_tokenizer(size: int, tokens: int) -> Any:
    """Every byte is a token, by itself and at the end of a word; nothing is merged.

    `size` entries, of which those that CLIP has for longer pieces are never used, and the last two
    are its start and end; prompts are cut at `tokens`.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    symbols = sorted(ByteLevel.alphabet())
    entries = [*symbols, *(f"{symbol}</w>" for symbol in symbols)]
    unused = [f"<unused {number}>" for number in range(size - len(entries) - 2)]
    vocabulary = {entry: number for number, entry in enumerate([*entries, *unused, START, END])}
    return CLIPTokenizer(vocabulary, [], model_max_length=tokens)
