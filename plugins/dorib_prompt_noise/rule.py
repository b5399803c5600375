"""The rule: which words come in, and where."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dorib import DoribError, PromptRule, TargetModel
from dorib_prompt_noise import PromptNoiseParams

NUMBERS = 100_000


class NoisePrompts(PromptRule[PromptNoiseParams]):
    """Puts words into each prompt at random gaps, or leaves some out.

    The encoder reads so many tokens and no more. What is put in stands within them, and pushes the
    end of a long prompt out instead; in the published code it may itself be cut off.
    """

    def rewrite(
        self, model: TargetModel, prompts: Sequence[str], generators: Sequence[torch.Generator]
    ) -> list[str]:
        """Each prompt with noise from its own generator; as it stands where `count` is 0.

        Raises:
            DoribError: no token of the vocabulary is a word.
        """
        if not self.params.count:
            return list(prompts)
        pairs = zip(prompts, generators, strict=True)
        return [self._noised(model, prompt, generator) for prompt, generator in pairs]

    def _noised(self, model: TargetModel, prompt: str, generator: torch.Generator) -> str:
        room = model.tokenize([""]).ids.shape[1] - 2
        words = prompt.split()
        if self.params.kind == "drop":
            read = words[: _how_many_fit(model, words, room)]
            keep = max(1, len(read) - self.params.count)
            kept = sorted(torch.randperm(len(read), generator=generator)[:keep].tolist())
            return " ".join([*(read[place] for place in kept), *words[len(read) :]])
        added = self._additions(model, words, generator)
        added = added[: _how_many_fit(model, added, room)]
        before = _how_many_fit(model, words, room - sum(_tokens(model, added)))
        noised = words[:before]
        for word in added:
            noised.insert(_draw(len(noised) + 1, generator), word)
        return " ".join([*noised, *words[before:]])

    def _additions(
        self, model: TargetModel, words: Sequence[str], generator: torch.Generator
    ) -> list[str]:
        draws = range(self.params.count)
        if self.params.kind == "word":
            return [_random_word(model, generator) for _ in draws]
        if self.params.kind == "number":
            return [str(_draw(NUMBERS, generator)) for _ in draws]
        return [words[_draw(len(words), generator)] for _ in draws] if words else []


def _random_word(model: TargetModel, generator: torch.Generator) -> str:
    """A token that is read back as itself alone, so that it is a word and no part of one."""
    vocabulary = len(model.token_embeddings()["text_encoder"])
    for token in torch.randperm(vocabulary, generator=generator).tolist():
        word = model.detokenize([token])
        read = model.tokenize([word])
        if int(read.lengths[0]) == 3 and int(read.ids[0, 1]) == token and word.split() == [word]:
            return word
    raise DoribError("rule prompt-noise: no token of this vocabulary is a word; set kind=number")


def _how_many_fit(model: TargetModel, words: Sequence[str], room: int) -> int:
    """How many of `words`, from the first on, take `room` tokens or less."""
    fitting = 0
    for tokens in _tokens(model, words):
        room -= tokens
        if room < 0:
            break
        fitting += 1
    return fitting


def _tokens(model: TargetModel, words: Sequence[str]) -> list[int]:
    """How many tokens each word takes; an encoder reads words apart."""
    lengths: list[int] = model.tokenize(words).lengths.tolist() if words else []
    return [length - 2 for length in lengths]


def _draw(below: int, generator: torch.Generator) -> int:
    return int(torch.randint(below, (), generator=generator))
