"""Noise in prompts: what comes in, where, and that the encoder reads it."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dorib import Seeds, TargetModel
from dorib.host.registry import Registry, discover
from fixtures.mitigating import fitted

LONG = "big cats on mats by the sea"
ROOM = 14
"""Letters are tokens, and the encoder reads so many."""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([*entry_points(group="dorib")])


def noised(
    model: TargetModel, registry: Registry, spec: str, prompt: str, seed: int = 0, other: int = 1
) -> str:
    """`prompt` with noise from `seed`, beside another prompt of the batch."""
    generators = [Seeds(other).generator("other"), Seeds(seed).generator("item")]
    with model.edited(fitted(model, registry, spec)):
        return model.rewritten(["one more", prompt], generators)[1]


@pytest.mark.parametrize("kind", ["word", "number", "repeat", "drop"])
def test_it_is_the_seed_and_the_item_alone_that_decide(
    tiny_model: TargetModel, registry: Registry, kind: str
) -> None:
    spec = f"prompt-noise:kind={kind},count=1"
    first = noised(tiny_model, registry, spec, "a red star", seed=0, other=1)
    assert first == noised(tiny_model, registry, spec, "a red star", seed=0, other=2)
    others = {noised(tiny_model, registry, spec, "a red star", seed) for seed in range(12)}
    assert len(others) > 2


@pytest.mark.parametrize("kind", ["word", "number"])
@pytest.mark.parametrize("prompt", ["it is", LONG, "", "abcdefghijklmnopqrstuvwxyz"])
def test_what_is_put_in_is_read(
    tiny_model: TargetModel, registry: Registry, prompt: str, kind: str
) -> None:
    for seed in range(6):
        words = noised(tiny_model, registry, f"prompt-noise:kind={kind},count=3", prompt, seed)
        added = [word for word in words.split() if word.isdecimal() or len(word) == 1]
        assert [word for word in words.split() if word not in added] == prompt.split()
        through_the_last = words.split()[: words.split().index(added[-1]) + 1]
        assert len("".join(through_the_last)) <= ROOM
        if kind == "word":
            assert len(added) == 3
            assert all(int(tiny_model.tokenize([word]).lengths[0]) == 3 for word in added)
        else:
            # Three of five digits do not fit.
            assert 2 <= len(added) <= 3
            assert all(0 <= int(word) < 100_000 for word in added)


@given(seed=st.integers(0, 2**31), count=st.integers(1, 5))
@settings(max_examples=15)
def test_repeated_words_are_the_prompts_own(
    tiny_model: TargetModel, registry: Registry, seed: int, count: int
) -> None:
    spec = f"prompt-noise:kind=repeat,count={count}"
    words = noised(tiny_model, registry, spec, "a cat", seed).split()
    assert set(words) == {"a", "cat"}
    assert 2 < len(words) <= 2 + count
    assert noised(tiny_model, registry, spec, "", seed) == ""


def test_one_word_that_is_read_is_left(tiny_model: TargetModel, registry: Registry) -> None:
    for seed in range(4):
        words = noised(tiny_model, registry, "prompt-noise:kind=drop,count=2", "a b c d", seed)
        assert len(words.split()) == 2
        assert sorted(words.split()) == words.split()
        for prompt in ("a b c", "a"):
            dropped = noised(tiny_model, registry, "prompt-noise:kind=drop,count=9", prompt, seed)
            assert dropped in prompt.split()
        # "the" is the first word that is not read whole: there is no use in dropping it.
        dropped = noised(tiny_model, registry, "prompt-noise:kind=drop,count=1", LONG, seed)
        assert dropped.endswith(" by the sea") or dropped == "big cats on mats the sea"
    assert noised(tiny_model, registry, "prompt-noise:kind=drop", "") == ""


def test_each_image_has_noise_of_its_own(tiny_model: TargetModel, registry: Registry) -> None:
    generator = torch.Generator().manual_seed(0)
    with tiny_model.edited(fitted(tiny_model, registry, "prompt-noise:count=1")):
        drawn = {tiny_model.rewritten(["a tree"], [generator])[0] for _ in range(6)}
    assert len(drawn) > 1
