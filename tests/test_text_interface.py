"""Tokens, their vectors and embeddings: what diffusers makes of prompts, with gradients."""

from __future__ import annotations

import pytest
import torch

from dorib import Tokens
from dorib.contracts.suite_view import SamplingSettings
from dorib.target.model import DiffusersModel
from dorib.testing import sdxl

PROMPTS = ["a red star", "small blue ring on a white ground", "", "tree " * 40]


@pytest.fixture(scope="module")
def sdxl_model() -> DiffusersModel:
    pipeline = sdxl.pipeline("epsilon")
    return DiffusersModel(
        pipeline, SamplingSettings(height=32, width=32, steps=4, guidance_scale=3.0)
    )


@pytest.fixture(params=["stable diffusion", "sdxl"])
def model(
    request: pytest.FixtureRequest, tiny_model: DiffusersModel, sdxl_model: DiffusersModel
) -> DiffusersModel:
    return tiny_model if request.param == "stable diffusion" else sdxl_model


def test_token_ids_are_encoded_as_their_prompts(model: DiffusersModel) -> None:
    wanted = model.encode_prompt(PROMPTS)
    encoded = model.encode_tokens(model.tokenize(PROMPTS))
    assert set(encoded) == set(wanted)
    for name, value in wanted.items():
        assert torch.equal(encoded[name], value)


def test_lengths_count_begin_and_end(model: DiffusersModel) -> None:
    tokens = model.tokenize(PROMPTS)
    longest = tokens.ids.shape[1]
    assert tokens.lengths.tolist()[2:] == [2, longest]
    assert 2 < int(tokens.lengths[0]) < int(tokens.lengths[1])


def test_bare_ids_get_begin_end_and_padding(model: DiffusersModel) -> None:
    tokens = model.tokenize(PROMPTS)
    rows = [
        ids[1 : int(length) - 1].tolist()
        for ids, length in zip(tokens.ids, tokens.lengths, strict=True)
    ]
    again = model.tokens_of(rows)
    assert torch.equal(again.ids, tokens.ids)
    assert torch.equal(again.lengths, tokens.lengths)
    assert model.detokenize(rows[0]) == PROMPTS[0]


def test_what_no_encoder_reads_is_refused(model: DiffusersModel) -> None:
    with pytest.raises(ValueError, match="tokens, where the text encoder reads"):
        model.tokens_of([[5] * 500])
    for strange in (-1, 10**6):
        with pytest.raises(ValueError, match="token ids go from 0 to"):
            model.tokens_of([[strange]])


def test_vectors_take_the_looked_up_ones_place_and_have_gradients(model: DiffusersModel) -> None:
    tokens = model.tokenize(PROMPTS[:2])
    looked_up = model.token_vectors(tokens)
    assert looked_up.keys() == model.token_embeddings().keys()
    vectors = {name: value.clone().requires_grad_() for name, value in looked_up.items()}
    encoded = model.encode_tokens(tokens, vectors)
    wanted = model.encode_prompt(PROMPTS[:2])
    for name, value in wanted.items():
        assert torch.allclose(encoded[name], value, atol=1e-6)
    total = torch.stack([value.square().sum() for value in encoded.values()]).sum()
    for gradient in torch.autograd.grad(total, list(vectors.values())):
        assert gradient.abs().sum() > 0
    # The hooks are off again.
    assert torch.equal(model.encode_prompt(PROMPTS)[name], model.encode_prompt(PROMPTS)[name])
    assert all(
        not encoder.get_input_embeddings()._forward_hooks
        for encoder in (model.pipeline.text_encoder,)
    )


def test_weights_are_those_in_place(model: DiffusersModel) -> None:
    assert model.weights().keys() == dict(model.unet.named_parameters()).keys()
    assert not any(value.requires_grad for value in model.weights("text_encoder").values())
    with pytest.raises(ValueError, match="has no vae"):
        model.weights("vae")


def test_tokens_show_their_shape() -> None:
    shown = repr(Tokens(torch.zeros(2, 16, dtype=torch.int64), torch.tensor([3, 4])))
    assert "16" in shown
    assert len(shown) < 200
