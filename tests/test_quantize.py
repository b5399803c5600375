"""Rounding on top of another mitigation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dorib import (
    DoribError,
    Edit,
    Ledger,
    MethodSpec,
    ReplaceWeights,
    SamplingRule,
    Seeds,
    Several,
    TargetModel,
)
from dorib.config import make_config
from dorib.host.configure import configure
from dorib.host.registry import Registry, discover
from dorib.runner import run
from dorib.target.model import DiffusersModel
from dorib_quantize.mitigation import round_trip
from test_prompt_filter import view_of


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


def fitted(registry: Registry, model: TargetModel, **params: Any) -> Edit:
    spec = MethodSpec(name="quantize", params=params)
    method = configure(registry, "mitigation", spec).mitigation
    return method.fit(model, view_of(model), Seeds(3), Ledger())


@given(bits=st.sampled_from([4, 8]), seed=st.integers(0, 99), size=st.floats(1e-6, 1e4))
@settings(max_examples=30)
def test_no_value_moves_by_more_than_half_a_step(bits: int, seed: int, size: float) -> None:
    weight = size * torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(seed))
    rounded = round_trip(weight, bits)
    step = weight.flatten(1).abs().amax(dim=1) / (2 ** (bits - 1) - 1)
    moved = (rounded - weight).flatten(1).abs().amax(dim=1)
    assert bool((moved <= 0.5001 * step).all())
    assert torch.allclose(round_trip(rounded, bits), rounded, rtol=1e-5)
    assert len(rounded[0].unique()) <= 2**bits


def test_zeros_stay_zeros() -> None:
    assert torch.equal(round_trip(torch.zeros(2, 3), 8), torch.zeros(2, 3))


def output(model: TargetModel) -> Tensor:
    latents = torch.ones(1, *model.latent_shape)
    embeddings = model.encode_prompt(["a red star"])
    return model.predict(latents, torch.tensor([400]), embeddings, torch.tensor([0]))


def test_fewer_bits_change_more(tiny_model: DiffusersModel, registry: Registry) -> None:
    plain = output(tiny_model)
    distance = {}
    for bits in (8, 4):
        with tiny_model.edited(fitted(registry, tiny_model, bits=bits)):
            distance[bits] = float((output(tiny_model) - plain).norm())
    assert 0 < distance[8] < distance[4]
    assert torch.equal(output(tiny_model), plain)


def test_what_the_base_prunes_stays_pruned(tiny_model: DiffusersModel, registry: Registry) -> None:
    edit = fitted(registry, tiny_model, base="wanda:sparsity=0.1")
    assert isinstance(edit.change, Several)
    *_, rounded = edit.changes
    assert isinstance(rounded, ReplaceWeights)
    for name in tiny_model.feed_forward_layers():
        assert int((rounded.weights[f"{name}.weight"] == 0).sum()) > 0


def test_a_rule_of_the_base_stays_in_force(tiny_model: DiffusersModel, registry: Registry) -> None:
    edit = fitted(registry, tiny_model, base="prompt-filter")
    assert [type(change) for change in edit.changes] == [SamplingRule, ReplaceWeights]


def test_there_is_no_one_model_of_an_edit_for_each_sample(
    tiny_model: DiffusersModel, registry: Registry
) -> None:
    with pytest.raises(DoribError, match="no one model to round"):
        fitted(registry, tiny_model, base="wanda:sparsity=0.1,scope=per_sample")


def test_a_whole_run(tiny_suite_folder: Path, tmp_path: Path, registry: Registry) -> None:
    config = {
        "suite": str(tiny_suite_folder),
        "out": str(tmp_path),
        "mitigation": ["quantize:base=wanda:sparsity=0.1,bits=4", "quantize:base=prompt-filter"],
        "attack": ["none"],
        "metric": ["sscd"],
        "limit": 1,
    }
    result = run(make_config(config), registry)
    assert not result.failed
    assert all(entry.errors == 0 for entry in result.entries)
