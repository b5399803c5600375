"""The tokenizer: byte-pair encoding over the suite's captions, in CLIP's format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as PreTokenizers
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

MAX_TOKENS = 24
VOCABULARY = 2500
WORD = Regex(r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
TOKENIZER_FILE = "tokenizer.json"
START, END = "<|startoftext|>", "<|endoftext|>"


def train_tokenizer(captions: Sequence[str], folder: Path) -> CLIPTokenizer:
    """Learn merges from `captions` and keep them in `folder`; one that is there is read.

    Frequent words become one token each; a word that is not known falls apart into pieces.
    """
    # Training breaks ties by chance: a second one gives some words other ids, and what was
    # trained on the first one's would read them as other words.
    if (folder / TOKENIZER_FILE).exists():
        return CLIPTokenizer.from_pretrained(folder)
    folder.mkdir(parents=True, exist_ok=True)
    bpe = Tokenizer(BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = Lowercase()
    bpe.pre_tokenizer = PreTokenizers(
        [
            Split(pattern=WORD, behavior="removed", invert=True),
            ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = BpeTrainer(
        vocab_size=VOCABULARY,
        end_of_word_suffix="</w>",
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(captions, trainer)
    content = json.loads(bpe.to_str())["model"]
    vocabulary: dict[str, int] = dict(content["vocab"])
    # Every byte must also exist as a whole word, or a lone symbol would be unknown.
    for symbol in sorted(ByteLevel.alphabet()):
        vocabulary.setdefault(f"{symbol}</w>", len(vocabulary))
    for special in (START, END):
        vocabulary.setdefault(special, len(vocabulary))
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in content["merges"]]
    tokenizer = CLIPTokenizer(vocabulary, merges, model_max_length=MAX_TOKENS)
    tokenizer.save_pretrained(folder)
    return tokenizer
