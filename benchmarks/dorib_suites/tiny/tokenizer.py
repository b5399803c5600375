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
START, END = "<|startoftext|>", "<|endoftext|>"


def train_tokenizer(captions: Sequence[str], folder: Path) -> CLIPTokenizer:
    """Learn merges from `captions` and write `vocab.json` and `merges.txt` into `folder`.

    Frequent words become one token each; a word that is not known falls apart into pieces.
    """
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
    merges = [" ".join(m) if isinstance(m, list) else m for m in content["merges"]]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=MAX_TOKENS
    )
