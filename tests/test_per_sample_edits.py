"""Per-sample edits in mixed batches give what each item gives by itself under its own edit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dorib.contracts.edits import Edit, MaskWeights
from dorib.target.editing import installing
from dorib.target.model import DiffusersModel
from fixtures.edits import KINDS, Kind, names, per_sample_edit, row_as_global

TOLERANCE = 1e-5
SAMPLES = 3
CAPTIONS = ("a red star", "a blue ring", "moon over the sea")


@pytest.fixture(params=[None, 2, 1], ids=["one table", "two at a time", "one at a time"])
def memory_cap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cap in units of the largest masked weight; None leaves it as it is."""
    if request.param is not None:
        monkeypatch.setattr(installing, "MEMORY_CAP_BYTES", request.param * 32 * 128 * 4)


def items(model: DiffusersModel, samples: Sequence[int], seed: int = 0) -> dict[str, Tensor]:
    """One item for each sample index, with a starting latent and a timestep of its own."""
    generators = [torch.Generator().manual_seed(1000 * seed + n) for n in range(len(samples))]
    prompts = model.encode_prompt(CAPTIONS)["prompt_embeds"]
    return {
        "latents": torch.stack([torch.randn(model.latent_shape, generator=g) for g in generators]),
        "timesteps": torch.stack([torch.randint(1000, (), generator=g) for g in generators]),
        "prompt_embeds": prompts[list(samples)],
        "samples": torch.tensor(samples),
    }


def predict(model: DiffusersModel, batch: dict[str, Tensor], guidance: float) -> Tensor:
    embeddings = {"prompt_embeds": batch["prompt_embeds"]}
    with torch.no_grad():
        return model.predict(
            batch["latents"], batch["timesteps"], embeddings, batch["samples"], guidance
        )


def one_by_one(batch: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    for row in range(len(batch["samples"])):
        yield {name: value[row : row + 1] for name, value in batch.items()}


def largest(difference: Tensor) -> float:
    return float(difference.abs().max())


@pytest.mark.usefixtures("memory_cap")
@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_mixed_batch_is_each_item_under_its_own_edit_of_the_whole_model(
    tiny_model: DiffusersModel, kind: Kind, guidance: float
) -> None:
    # Repeated indices are several seeds or restarts of one sample.
    batch = items(tiny_model, [2, 0, 1, 0, 2, 2])
    edit = per_sample_edit(tiny_model, kind, SAMPLES)
    unedited = predict(tiny_model, batch, guidance)
    with tiny_model.edited(edit):
        mixed = predict(tiny_model, batch, guidance)
    for row, item in enumerate(one_by_one(batch)):
        with tiny_model.edited(row_as_global(edit, int(item["samples"]))):
            alone = predict(tiny_model, item, guidance)
        assert largest(mixed[row] - alone[0]) <= TOLERANCE
        assert largest(mixed[row] - unedited[row]) > 100 * TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
@given(
    samples=st.lists(st.integers(0, SAMPLES - 1), min_size=1, max_size=6),
    rows=st.permutations(range(SAMPLES)),
    guided=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=8)
def test_mixed_batch_is_one_by_one(
    tiny_model: DiffusersModel,
    kind: Kind,
    samples: list[int],
    rows: list[int],
    guided: bool,
    seed: int,
) -> None:
    batch = items(tiny_model, samples, seed)
    guidance = 3.0 if guided else 1.0
    with tiny_model.edited(per_sample_edit(tiny_model, kind, SAMPLES, seed), rows=rows):
        mixed = predict(tiny_model, batch, guidance)
        alone = torch.cat([predict(tiny_model, item, guidance) for item in one_by_one(batch)])
    assert largest(mixed - alone) <= TOLERANCE


def test_rows_say_which_row_acts_for_which_sample(tiny_model: DiffusersModel) -> None:
    edit = per_sample_edit(tiny_model, "mask", SAMPLES)
    batch = items(tiny_model, [1])
    with tiny_model.edited(edit, rows=[0, 2, 1]):
        mapped = predict(tiny_model, batch, 1.0)
    with tiny_model.edited(edit):
        direct = predict(tiny_model, {**batch, "samples": torch.tensor([2])}, 1.0)
    assert torch.equal(mapped, direct)


@pytest.mark.usefixtures("memory_cap")
@pytest.mark.parametrize("kind", KINDS)
def test_images_of_a_mixed_batch_are_those_of_each_item_alone(
    tiny_model: DiffusersModel, kind: Kind
) -> None:
    samples = torch.tensor([1, 0, 1, 2])
    embeddings = tiny_model.encode_prompt([CAPTIONS[i] for i in samples.tolist()])["prompt_embeds"]

    def images(rows: slice) -> Tensor:
        generators = [torch.Generator().manual_seed(n) for n in range(len(samples))[rows]]
        return tiny_model.sample({"prompt_embeds": embeddings[rows]}, generators, samples[rows])

    with tiny_model.edited(per_sample_edit(tiny_model, kind, SAMPLES)):
        mixed = images(slice(None))
        alone = torch.cat([images(slice(row, row + 1)) for row in range(len(samples))])
    assert largest(mixed - alone) <= TOLERANCE


def gradients(model: DiffusersModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Losses of a guided prediction, and their gradient to the embeddings."""
    embeddings = batch["prompt_embeds"].clone().requires_grad_()
    output = model.predict(
        batch["latents"],
        batch["timesteps"],
        {"prompt_embeds": embeddings},
        batch["samples"],
        guidance_scale=3.0,
    )
    losses = output.square().flatten(1).mean(dim=1)
    (gradient,) = torch.autograd.grad(losses.sum(), embeddings)
    return losses.detach(), gradient


@pytest.mark.usefixtures("memory_cap")
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_a_mixed_batch_are_those_of_each_item_alone(
    tiny_model: DiffusersModel, kind: Kind
) -> None:
    batch = items(tiny_model, [2, 0, 2])
    edit = per_sample_edit(tiny_model, kind, SAMPLES)
    with tiny_model.edited(edit):
        losses, mixed = gradients(tiny_model, batch)
    assert largest(mixed) > 1e-4
    for row, item in enumerate(one_by_one(batch)):
        with tiny_model.edited(row_as_global(edit, int(item["samples"]))):
            loss, alone = gradients(tiny_model, item)
        assert largest(losses[row] - loss) <= TOLERANCE
        assert largest(mixed[row] - alone[0]) <= TOLERANCE * largest(alone)


@pytest.mark.parametrize("kind", [*KINDS, "global mask"])
def test_gradient_checkpointing_changes_no_gradient(
    make_model: object, tiny_model: DiffusersModel, kind: str
) -> None:
    assert callable(make_model)
    frugal: DiffusersModel = make_model()
    frugal.enable_gradient_checkpointing()
    calls: list[int] = []
    block = frugal.unet.get_submodule("mid_block.attentions.0.transformer_blocks.0")
    # Before the call: recomputation stops, by an exception, as soon as it has what it needs.
    block.register_forward_pre_hook(lambda *_: calls.append(1))
    batch = items(tiny_model, [2, 0, 2])
    edit = per_sample_edit(tiny_model, "mask" if kind == "global mask" else kind, SAMPLES)
    if kind == "global mask":
        edit = row_as_global(edit, 1)
    with tiny_model.edited(edit):
        losses, kept = gradients(tiny_model, batch)
    with frugal.edited(edit):
        losses_recomputed, recomputed = gradients(frugal, batch)
    assert len(calls) > 1, "nothing was recomputed"
    assert largest(losses - losses_recomputed) <= TOLERANCE
    assert largest(kept - recomputed) <= TOLERANCE * largest(kept)


def test_a_layer_without_a_token_axis_can_be_masked(tiny_model: DiffusersModel) -> None:
    name = "mid_block.resnets.0.time_emb_proj"
    width = tiny_model.unet.get_submodule(name).weight.numel()
    rows = (torch.arange(0, width, 2), torch.arange(1, width, 2))
    edit = Edit(MaskWeights({name: rows}), "per_sample", names(2))
    batch = items(tiny_model, [1, 0])
    with tiny_model.edited(edit):
        mixed = predict(tiny_model, batch, 1.0)
    for row, item in enumerate(one_by_one(batch)):
        with tiny_model.edited(row_as_global(edit, int(item["samples"]))):
            assert largest(mixed[row] - predict(tiny_model, item, 1.0)[0]) <= TOLERANCE


@pytest.mark.parametrize("index", [-1, SAMPLES])
@pytest.mark.parametrize("rows", [None, [2, 0, 1]])
def test_a_sample_index_without_a_row_is_refused(
    tiny_model: DiffusersModel, index: int, rows: list[int] | None
) -> None:
    """-1 would act by another sample's edit."""
    batch = items(tiny_model, [0, 1])
    batch["samples"] = torch.tensor([0, index])
    with (
        tiny_model.edited(per_sample_edit(tiny_model, "mask", SAMPLES), rows),
        pytest.raises(ValueError, match="the per-sample edit has rows 0 to 2"),
    ):
        predict(tiny_model, batch, guidance=3.0)
    with tiny_model.edited(Edit(None)):
        predict(tiny_model, batch, guidance=3.0)
