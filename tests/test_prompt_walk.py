"""The walk through prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dorib import DoribError, TargetModel
from dorib_prompt_walk import PromptWalkParams
from dorib_prompt_walk.attack import PromptWalk, edited
from fixtures.searches import SEEDS, search, targets_of

WORDS = st.lists(st.sampled_from("abcdef"), max_size=6)


@given(words=WORDS, seed=st.integers(0, 10**6))
def test_an_edit_concerns_one_word_and_leaves_one(words: Sequence[str], seed: int) -> None:
    found = edited(words, ["x", "y"], torch.Generator().manual_seed(seed))
    assert found
    assert len(found) - len(words) in (-1, 0, 1)
    kept = [word for word in found if word not in ("x", "y")]
    assert len(found) - len(kept) <= 1
    assert len(words) - len(kept) <= 1
    remaining = iter(words)
    assert all(word in remaining for word in kept)


def test_all_three_edits_occur() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = [len(edited(["a", "b"], ["x"], generator)) for _ in range(60)]
    assert set(lengths) == {1, 2, 3}


@pytest.mark.parametrize("score", ["magnitude", "one-step"])
def test_the_score_never_falls_and_is_that_of_the_prompt(
    tiny_model: TargetModel, score: str
) -> None:
    params = PromptWalkParams.model_validate({"score": score})
    targets = targets_of(tiny_model)
    early, late = 16, 160
    found = search(PromptWalk(params), tiny_model, targets, [early, late])
    by_sample = {(trigger.sample, trigger.budget): trigger for trigger in found}
    for target in targets:
        trigger = by_sample[target.sample, late]
        assert list(trigger.trace) == sorted(trigger.trace, reverse=True)
        assert trigger.prompt is not None and trigger.kind == "prompt"
        generator = SEEDS.generator(target.sample, "noise")
        noise = torch.randn((2, *tiny_model.latent_shape), generator=generator)
        again = -trigger.trace[-1]
        assert again == pytest.approx(_score(tiny_model, score, noise, trigger.prompt), rel=1e-4)
    assert any(by_sample[t.sample, late].prompt != t.caption for t in targets)


def _score(model: TargetModel, score: str, noise: torch.Tensor, prompt: str) -> float:
    embeddings = {
        name: value.expand(2, *value.shape[1:])
        for name, value in model.encode_prompt([prompt]).items()
    }
    timestep = model.sampling_timesteps()[0]
    samples = torch.zeros(2, dtype=torch.int64)
    with torch.no_grad():
        nothing, asked = model.predict_both(noise, timestep.expand(2), embeddings, samples)
    if score == "magnitude":
        return float((asked - nothing).flatten(1).norm(dim=1).mean())
    # At zero terminal SNR a v-prediction is the negative image.
    clean = -(nothing + 3.0 * (asked - nothing))
    return float((clean - noise).square().mean())


def test_without_other_captions_there_are_no_words(tiny_model: TargetModel) -> None:
    target = replace(targets_of(tiny_model)[0], other_captions=())
    with pytest.raises(DoribError, match="sample s0 comes with no captions of other images"):
        search(PromptWalk(PromptWalkParams()), tiny_model, [target], [40])
