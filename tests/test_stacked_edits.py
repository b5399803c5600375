"""Edits on top of one another, of low rank, and of other components than the U-Net."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from dorib import (
    AddLowRank,
    DoribError,
    Edit,
    MaskWeights,
    ReplaceWeights,
    SamplingRule,
    ScaleOutputs,
    Several,
    load_edit,
    save_edit,
)
from dorib.contracts.edit_files import load_outline
from dorib.target.model import DiffusersModel
from fixtures.edits import global_edit, per_sample_edit

PROMPTS = ["a red star", "a tree"]


def output(model: DiffusersModel, samples: tuple[int, ...] = (0, 1)) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn((2, *model.latent_shape), generator=generator)
    embeddings = model.encode_prompt(PROMPTS)
    return model.predict(latents, torch.tensor([700, 200]), embeddings, torch.tensor(samples), 3.0)


def low_rank(model: DiffusersModel) -> AddLowRank:
    """On a linear layer and on a convolution."""
    generator = torch.Generator().manual_seed(5)
    names = [next(iter(model.feed_forward_layers())), "conv_in"]
    factors = {}
    for name in names:
        weight = model.weights()[f"{name}.weight"]
        up = torch.randn((weight.shape[0], 2), generator=generator)
        down = torch.randn((2, weight[0].numel()), generator=generator) / 10
        factors[name] = up, down
    return AddLowRank(factors)


def of_text_encoder(model: DiffusersModel) -> ReplaceWeights:
    weights = model.weights("text_encoder")
    name = next(name for name in weights if name.endswith("fc2.weight"))
    return ReplaceWeights({f"text_encoder.{name}": weights[name] * -1})


def test_low_rank_is_the_sum_of_weight_and_product(tiny_model: DiffusersModel) -> None:
    change = low_rank(tiny_model)
    plain = tiny_model.weights()
    summed = {
        f"{name}.weight": plain[f"{name}.weight"] + (up @ down).view_as(plain[f"{name}.weight"])
        for name, (up, down) in change.factors.items()
    }
    with tiny_model.edited(Edit(ReplaceWeights(summed))):
        wanted = output(tiny_model)
    before = output(tiny_model)
    with tiny_model.edited(Edit(change)):
        assert torch.equal(output(tiny_model), wanted)
    assert torch.equal(output(tiny_model), before)
    assert not torch.allclose(before, wanted, atol=1e-3)


def test_the_inner_edit_acts_on_top_of_the_outer(tiny_model: DiffusersModel) -> None:
    mask, scale = global_edit(tiny_model, "mask"), global_edit(tiny_model, "scale")
    with tiny_model.edited(mask), tiny_model.edited(scale):
        nested = output(tiny_model)
    assert isinstance(mask.change, MaskWeights) and isinstance(scale.change, ScaleOutputs)
    with tiny_model.edited(Edit(Several((mask.change, scale.change)))):
        assert torch.equal(output(tiny_model), nested)
    with tiny_model.edited(mask):
        assert not torch.allclose(output(tiny_model), nested, atol=1e-3)


def test_what_a_per_sample_mask_removes_is_of_the_weights_in_place(
    tiny_model: DiffusersModel,
) -> None:
    masks = per_sample_edit(tiny_model, "mask", samples=2)
    assert isinstance(masks.change, MaskWeights)
    other = {
        f"{name}.weight": layer.weight.detach() * 2
        for name, layer in tiny_model.feed_forward_layers().items()
    }
    replaced = Edit(ReplaceWeights(other))
    with tiny_model.edited(replaced), tiny_model.edited(masks):
        wanted = output(tiny_model)
    with tiny_model.edited(masks), tiny_model.edited(replaced):
        assert torch.allclose(output(tiny_model), wanted, atol=1e-5)


def test_rows_are_each_edits_own(tiny_model: DiffusersModel) -> None:
    masks = per_sample_edit(tiny_model, "mask", samples=2)
    scales = per_sample_edit(tiny_model, "scale", samples=2, seed=1)
    with tiny_model.edited(masks, rows=[1, 0]), tiny_model.edited(scales):
        crossed = output(tiny_model, (0, 1))
    with tiny_model.edited(masks), tiny_model.edited(scales, rows=[1, 0]):
        assert torch.allclose(output(tiny_model, (1, 0)), crossed, atol=1e-5)
        assert not torch.allclose(output(tiny_model, (0, 1)), crossed, atol=1e-3)


def test_an_edit_of_the_text_encoder_changes_what_prompts_mean(
    tiny_model: DiffusersModel,
) -> None:
    plain = tiny_model.encode_prompt(PROMPTS)["prompt_embeds"]
    before = output(tiny_model)
    latents = torch.zeros((1, *tiny_model.latent_shape))
    arguments = (latents, torch.tensor([500]), tiny_model.encode_prompt(["a tree"]))
    unconditional = tiny_model.predict_both(*arguments, torch.tensor([0]))[0]
    with tiny_model.edited(Edit(of_text_encoder(tiny_model))):
        edited = tiny_model.encode_prompt(PROMPTS)["prompt_embeds"]
        assert not torch.allclose(edited, plain, atol=1e-3)
        # The empty prompt, which guidance steers away from, is the edited encoder's too.
        assert not torch.allclose(
            tiny_model.predict_both(*arguments, torch.tensor([0]))[0], unconditional, atol=1e-4
        )
    assert torch.equal(tiny_model.encode_prompt(PROMPTS)["prompt_embeds"], plain)
    assert torch.equal(output(tiny_model), before)


def test_every_kind_of_edit_survives_the_disk(tiny_model: DiffusersModel, tmp_path: Path) -> None:
    rule = SamplingRule("prompt-filter", {"substitutes": {"a tree": "a star"}})
    mask = global_edit(tiny_model, "mask").change
    assert isinstance(mask, MaskWeights)
    several = Edit(Several((low_rank(tiny_model), of_text_encoder(tiny_model), mask, rule)))
    save_edit(several, tmp_path)
    loaded = load_edit(tmp_path)
    assert [type(change) for change in loaded.changes] == [type(c) for c in several.changes]
    outline = load_outline(tmp_path)
    assert outline.rules == (rule,)
    names = {*low_rank(tiny_model).factors, *of_text_encoder(tiny_model).weights, *mask.indices}
    assert set(outline.names) == names
    with tiny_model.edited(several):
        wanted = output(tiny_model)
    with tiny_model.edited(loaded):
        assert torch.equal(output(tiny_model), wanted)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (ScaleOutputs({"text_encoder_2.a": torch.ones(4)}), "this model has no text_encoder_2"),
        (AddLowRank({"conv_in": (torch.ones(3, 1), torch.ones(1, 4))}), "conv_in does not fit"),
        (AddLowRank({"conv_none": (torch.ones(3, 1), torch.ones(1, 4))}), "no layer conv_none"),
        (ReplaceWeights({"text_encoder.no.weight": torch.ones(4)}), "no layer no"),
    ],
)
def test_what_does_not_fit_is_refused(
    tiny_model: DiffusersModel, change: ScaleOutputs | AddLowRank | ReplaceWeights, complaint: str
) -> None:
    with pytest.raises(DoribError, match=complaint), tiny_model.edited(Edit(change)):
        pytest.fail("was installed")


def test_only_the_unet_can_differ_between_samples(tiny_model: DiffusersModel) -> None:
    layer = "text_encoder.text_model.encoder.layers.0.mlp.fc2"
    names = tiny_model.weights("text_encoder")
    layer = next(f"text_encoder.{n.removesuffix('.weight')}" for n in names if "fc2.weight" in n)
    width = next(value.shape[0] for n, value in names.items() if "fc2.weight" in n)
    edit = Edit(ScaleOutputs({layer: torch.ones(1, width)}), "per_sample", ("a",))
    with pytest.raises(DoribError, match="cannot differ between samples"), tiny_model.edited(edit):
        pytest.fail("was installed")


@pytest.mark.parametrize(
    "changes", [(), (Several((SamplingRule("a", {}),)),)], ids=["none", "nested"]
)
def test_several_are_single_changes(changes: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="one at least, and none of them several"):
        Several(changes)  # type: ignore[arg-type]
