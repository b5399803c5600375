"""Edits as data, and an edit installed and removed is the identity."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dorib.contracts.edit_files import load_edit, save_edit
from dorib.contracts.edits import (
    Change,
    Edit,
    MaskWeights,
    ReplaceWeights,
    ScaleOutputs,
    merge_edits,
    single_edits,
)
from dorib.errors import DoribError
from dorib.target.model import DiffusersModel
from fixtures.edits import KINDS, Kind, global_edit, per_sample_edit

FAMILIES = [("global", kind) for kind in (*KINDS, "replace")] + [
    ("per_sample", kind) for kind in KINDS
]


def make_edit(model: DiffusersModel, scope: str, kind: Kind, seed: int = 0) -> Edit:
    if scope == "global":
        return global_edit(model, kind, seed)
    return per_sample_edit(model, kind, samples=2, seed=seed)


def state(unet: nn.Module) -> dict[str, tuple[int, bytes, bool]]:
    """Every parameter and buffer: which object it is, its bytes, whether it takes gradients."""
    everything = [*unet.named_parameters(), *unet.named_buffers()]
    return {
        name: (id(tensor), tensor.detach().numpy().tobytes(), tensor.requires_grad)
        for name, tensor in everything
    }


def hooks(unet: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules())


def output(model: DiffusersModel) -> Tensor:
    generator = torch.Generator().manual_seed(11)
    latents = torch.randn((2, *model.latent_shape), generator=generator)
    embeddings = model.encode_prompt(["a red star", "a blue ring"])
    with torch.no_grad():
        return model.predict(latents, torch.tensor([10, 900]), embeddings, torch.arange(2))


@pytest.mark.parametrize(("scope", "kind"), FAMILIES)
@given(seed=st.integers(0, 1000))
@settings(max_examples=3)
def test_installed_and_removed_is_the_identity(
    tiny_model: DiffusersModel, scope: str, kind: Kind, seed: int
) -> None:
    before, hooks_before, plain = state(tiny_model.unet), hooks(tiny_model.unet), output(tiny_model)
    with tiny_model.edited(make_edit(tiny_model, scope, kind, seed)):
        assert (output(tiny_model) - plain).abs().max() > 1e-3
    assert state(tiny_model.unet) == before
    assert hooks(tiny_model.unet) == hooks_before
    assert torch.equal(output(tiny_model), plain)


@pytest.mark.parametrize(("scope", "kind"), FAMILIES)
def test_an_exception_inside_leaves_the_model_as_it_was(
    tiny_model: DiffusersModel, scope: str, kind: Kind
) -> None:
    before, hooks_before = state(tiny_model.unet), hooks(tiny_model.unet)
    edit = make_edit(tiny_model, scope, kind)
    with pytest.raises(ZeroDivisionError), tiny_model.edited(edit):
        raise ZeroDivisionError
    assert (state(tiny_model.unet), hooks(tiny_model.unet)) == (before, hooks_before)
    with tiny_model.edited(edit):
        pass


@pytest.mark.parametrize(("scope", "kind"), FAMILIES)
def test_an_edit_that_does_not_fit_is_refused_and_nothing_stays_installed(
    tiny_model: DiffusersModel, scope: str, kind: Kind
) -> None:
    before, hooks_before = state(tiny_model.unet), hooks(tiny_model.unet)
    change = make_edit(tiny_model, scope, kind).change
    with pytest.raises(DoribError, match=r"no_such_layer.*fit the edit"):
        edit = Edit(with_unknown_layer(change), *scope_and_samples(scope))
        with tiny_model.edited(edit):
            pytest.fail("was installed")
    assert (state(tiny_model.unet), hooks(tiny_model.unet)) == (before, hooks_before)


def with_unknown_layer(change: Change | None) -> Change:
    """The same change, and after it one to a layer that does not exist."""
    match change:
        case ScaleOutputs(scales):
            return ScaleOutputs({**scales, "no_such_layer": next(iter(scales.values()))})
        case MaskWeights(indices):
            return MaskWeights({**indices, "no_such_layer": next(iter(indices.values()))})
        case ReplaceWeights(weights):
            return ReplaceWeights({**weights, "no_such_layer.weight": torch.ones(1)})
    raise AssertionError(change)


def scope_and_samples(scope: str) -> tuple[str, tuple[str, ...]]:
    return scope, ("sample-0", "sample-1") if scope == "per_sample" else ()


def misfits(model: DiffusersModel) -> dict[str, Change]:
    name, layer = next(iter(model.feed_forward_layers().items()))
    beyond = torch.tensor([layer.weight.numel()])
    return {
        "another width": ScaleOutputs({name: torch.ones(1, layer.out_features + 1)}),
        "one factor for all": ScaleOutputs({name: torch.ones(1, 1)}),
        "beyond the weight": MaskWeights({name: (beyond,)}),
        "before the weight": MaskWeights({name: (torch.tensor([-1]),)}),
        "another shape": ReplaceWeights({f"{name}.weight": torch.ones(1, 1)}),
        "no parameter": ReplaceWeights({f"{name}.gain": torch.ones(1)}),
        "no linear layer": ScaleOutputs({"conv_in": torch.ones(1, 16)}),
    }


@pytest.mark.parametrize(
    "misfit",
    [
        "another width",
        "one factor for all",
        "beyond the weight",
        "before the weight",
        "another shape",
        "no parameter",
        "no linear layer",
    ],
)
def test_an_edit_for_another_model_is_refused(tiny_model: DiffusersModel, misfit: str) -> None:
    with (
        pytest.raises(DoribError, match="fit the edit"),
        tiny_model.edited(Edit(misfits(tiny_model)[misfit])),
    ):
        pytest.fail("was installed")


def test_global_edits_do_what_changing_the_weights_in_place_does(
    tiny_model: DiffusersModel,
) -> None:
    for kind in (*KINDS, "replace"):
        edit = global_edit(tiny_model, kind)
        reference = copy.deepcopy(tiny_model)
        change_in_place(reference.unet, edit.change)
        with tiny_model.edited(edit):
            difference = (output(tiny_model) - output(reference)).abs().max()
        assert difference <= (1e-5 if kind == "scale" else 0)


@torch.no_grad()
def change_in_place(unet: nn.Module, change: Change | None) -> None:
    match change:
        case ScaleOutputs(scales):
            for name, scale in scales.items():
                unet.get_submodule(name).weight.mul_(scale.reshape(-1, 1))
        case MaskWeights(indices):
            for name, (positions,) in indices.items():
                weight = unet.get_submodule(name).weight
                mask = torch.ones(weight.numel())
                mask[positions] = 0
                weight.mul_(mask.view_as(weight))
        case ReplaceWeights(weights):
            unet.load_state_dict(dict(weights), strict=False)


def tensors(change: Change | None) -> dict[str, Tensor]:
    match change:
        case ScaleOutputs(scales):
            return dict(scales)
        case MaskWeights(indices):
            return {f"{n}@{i}": row for n, rows in indices.items() for i, row in enumerate(rows)}
        case ReplaceWeights(weights):
            return dict(weights)
    return {}


def assert_same(first: Edit, second: Edit) -> None:
    assert (first.scope, first.samples) == (second.scope, second.samples)
    assert type(first.change) is type(second.change)
    left, right = tensors(first.change), tensors(second.change)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(("scope", "kind"), [*FAMILIES, ("global", None)])
def test_saved_and_loaded_is_the_same(
    tiny_model: DiffusersModel, tmp_path: Path, scope: str, kind: Kind | None
) -> None:
    edit = Edit(None) if kind is None else make_edit(tiny_model, scope, kind)
    edit = Edit(edit.change, edit.scope, edit.samples, notes={"share": 0.25})
    save_edit(edit, tmp_path)
    loaded = load_edit(tmp_path)
    assert_same(loaded, edit)
    assert loaded.notes == {"share": 0.25}


def test_an_empty_mask_survives_the_disk(tmp_path: Path) -> None:
    none, one = torch.zeros(0, dtype=torch.int64), torch.tensor([3])
    edit = Edit(MaskWeights({"layer": (none, one)}), "per_sample", ("a", "b"))
    save_edit(edit, tmp_path)
    assert_same(load_edit(tmp_path), edit)


@pytest.mark.parametrize("kind", KINDS)
def test_taken_apart_and_merged_is_the_same(tiny_model: DiffusersModel, kind: Kind) -> None:
    edit = per_sample_edit(tiny_model, kind, samples=3)
    parts = single_edits(edit)
    assert list(parts) == list(edit.samples)
    assert_same(merge_edits(list(parts.values())), edit)


def test_taken_apart_each_keeps_its_own_notes(tiny_model: DiffusersModel) -> None:
    whole = per_sample_edit(tiny_model, "mask", samples=2)
    notes = {"mode": "any", "samples": {sample: {"picks": sample} for sample in whole.samples}}
    parts = single_edits(Edit(whole.change, whole.scope, whole.samples, notes))
    for sample in whole.samples:
        assert parts[sample].notes == {"mode": "any", "samples": {sample: {"picks": sample}}}


def test_only_one_kind_can_be_merged(tiny_model: DiffusersModel) -> None:
    edits = [per_sample_edit(tiny_model, kind, samples=1) for kind in KINDS]
    with pytest.raises(ValueError, match="one kind"):
        merge_edits(edits)


def truncate(folder: Path) -> None:
    path = folder / "edit.safetensors"
    path.write_bytes(path.read_bytes()[:-20])


def rename_kind(folder: Path) -> None:
    path = folder / "edit.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kind": "RunCode"}))


DAMAGES = {
    "no description": lambda folder: (folder / "edit.json").unlink(),
    "no JSON": lambda folder: (folder / "edit.json").write_text("{"),
    "no mapping": lambda folder: (folder / "edit.json").write_text("[]"),
    "no text": lambda folder: (folder / "edit.json").write_bytes(b"\xff\xfe"),
    "unknown kind": rename_kind,
    "no tensors": lambda folder: (folder / "edit.safetensors").write_bytes(b""),
    "tensors cut off": truncate,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_edit_is_refused_in_one_line(
    tiny_model: DiffusersModel, tmp_path: Path, damage: str
) -> None:
    save_edit(per_sample_edit(tiny_model, "mask", samples=2), tmp_path)
    DAMAGES[damage](tmp_path)
    with pytest.raises(DoribError, match="not a readable edit") as refusal:
        load_edit(tmp_path)
    assert str(tmp_path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "scope", "samples"),
    [
        (None, "per_sample", ()),
        (None, "global", ("a",)),
        (ReplaceWeights({"w": torch.ones(1)}), "per_sample", ("a",)),
        (MaskWeights({"w": (torch.tensor([0]),)}), "per_sample", ("a", "b")),
        (ScaleOutputs({"w": torch.ones(3, 4)}), "per_sample", ("a", "b")),
        (ScaleOutputs({"w": torch.ones(4)}), "per_sample", ("a", "b")),
        (ScaleOutputs({"w": torch.ones(2, 4)}), "global", ()),
    ],
)
def test_an_edit_that_contradicts_itself_cannot_be_made(
    change: Change | None, scope: str, samples: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=r"per-sample|global|samples"):
        Edit(change, scope, samples)
