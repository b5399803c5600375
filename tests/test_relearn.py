"""A few steps of fine-tuning: its gradients, its edit, what it is trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from dorib import AddLowRank, DoribError, Edit, MaskWeights, unstacked
from dorib.kit.finetuning.low_rank import PROJECTIONS
from dorib.target.model import DiffusersModel
from dorib_relearn import RelearnParams
from dorib_relearn.attack import Relearn
from fixtures.edits import per_sample_edit
from fixtures.searches import SEEDS, held_out_loss, search, targets_of


def factors_of(edit: Edit | None) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    assert edit is not None and isinstance(edit.change, AddLowRank)
    return dict(edit.change.factors)


def test_three_steps_are_adam_on_the_factors(either_model: DiffusersModel) -> None:
    """Against autograd through a functional call of the U-Net."""
    model, target = either_model, targets_of(either_model)[1]
    params = RelearnParams(rank=2, learning_rate=0.01)
    [trigger] = search(Relearn(params), model, [target], [9])

    generator, unet = SEEDS.generator("s1", 0), model.pipeline.unet
    factors = {}
    for name, weight in unet.named_parameters():
        layer = name.removesuffix(".weight")
        if layer != name and layer.endswith(tuple(f".{one}" for one in PROJECTIONS)):
            down = torch.randn(2, weight.shape[1], generator=generator) / 2
            factors[layer] = torch.zeros(weight.shape[0], 2).requires_grad_(), down.requires_grad_()
    adam = torch.optim.Adam([one for both in factors.values() for one in both], lr=0.01)
    clean = model.encode_image(target.original[None])
    prompt, trace = model.encode_prompt([target.caption])["prompt_embeds"], []
    for _ in range(3):
        torch.randint(1, (), generator=generator)
        timestep = torch.randint(model.timesteps, (1,), generator=generator)
        noise = torch.randn(model.latent_shape, generator=generator)[None]
        weights = {
            f"{layer}.weight": unet.get_parameter(f"{layer}.weight") + up @ down
            for layer, (up, down) in factors.items()
        }
        noisy = model.add_noise(clean, noise, timestep)
        output = torch.func.functional_call(unet, weights, (noisy, timestep, prompt)).sample
        wanted = model.training_target(clean, noise, timestep)
        loss = torch.nn.functional.mse_loss(output, wanted)
        adam.zero_grad()
        loss.backward()
        adam.step()
        trace.append(loss.item())
    assert trigger.trace == pytest.approx(trace, abs=1e-4)
    found = factors_of(trigger.edit)
    assert found.keys() == factors.keys()
    for layer, both in factors.items():
        for one, other in zip(found[layer], both, strict=True):
            assert ((one - other).abs() > 1e-3).float().mean() < 0.02


def test_the_image_comes_nearer_and_the_model_stays_as_it_was(tiny_model: DiffusersModel) -> None:
    target = targets_of(tiny_model)[0]
    before = {name: value.clone() for name, value in tiny_model.weights().items()}
    attack = Relearn(RelearnParams(learning_rate=0.003, pairs=4))
    early, late = search(attack, tiny_model, [target], [24, 240])
    assert early.trace == late.trace[:2]
    asked = unstacked(tiny_model.encode_prompt([target.caption]))[0]
    losses = []
    for edit in (None, early.edit, late.edit):
        with tiny_model.edited(edit or Edit(None)):
            losses.append(held_out_loss(tiny_model, target, asked))
    assert losses[2] < losses[1] < losses[0]
    assert all(torch.equal(value, before[name]) for name, value in tiny_model.weights().items())


def test_masked_weights_stay_masked_while_others_are_trained(tiny_model: DiffusersModel) -> None:
    """Under an edit of each sample the removed part of a weight has neither value nor gradient."""
    layer = next(iter(tiny_model.cross_attention_value_layers()))
    weight = tiny_model.linear_layer(layer).weight
    removed = torch.arange(weight.numel() // 2)
    rows = (torch.arange(0), removed)
    edit = Edit(MaskWeights({layer: rows}), "per_sample", ("a", "b"))
    latents = torch.randn(1, *tiny_model.latent_shape, generator=torch.Generator().manual_seed(1))
    prompt = tiny_model.encode_prompt(["a"])
    gradients = []
    for sample in (0, 1):
        with tiny_model.edited(edit), tiny_model.trainable_copy() as copies:
            trained = copies[f"{layer}.weight"].requires_grad_()
            for _ in range(2):
                output = tiny_model.predict(
                    latents, torch.tensor([500]), prompt, torch.tensor([sample])
                )
                output.square().sum().backward()
            gradients.append(trained.grad.flatten())
    assert gradients[0][removed].abs().sum() > 0
    assert gradients[1][removed].abs().sum() == 0
    assert gradients[1].abs().sum() > 0


def test_it_runs_under_masks_of_each_sample(tiny_model: DiffusersModel) -> None:
    targets = targets_of(tiny_model)
    with tiny_model.edited(per_sample_edit(tiny_model, "mask", 3)):
        found = search(Relearn(RelearnParams()), tiny_model, targets, [6])
    assert [trigger.sample for trigger in found] == ["s0", "s1", "s2"]


@pytest.mark.parametrize("on", ["others", "unrelated"])
def test_it_is_trained_on_what_was_asked_for(
    on: str, make_model: Callable[..., DiffusersModel]
) -> None:
    model, read = make_model(), []
    target = targets_of(model)[0]

    def noted(number: int, reader: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        def reads() -> torch.Tensor:
            read.append(number)
            return reader()

        return reads

    others = [replace(o, read=noted(n, o.read)) for n, o in enumerate(target.others)]
    target = replace(target, original=torch.full((3, 32, 32), torch.nan), others=others)
    attack = Relearn(RelearnParams.model_validate({"on": on, "pairs": 8}))
    [trigger] = search(attack, model, [target], [24])
    assert set(read) == ({0, 2} if on == "others" else {1, 3})
    assert trigger.loss is not None and 0 < trigger.loss < 100
    with pytest.raises(DoribError, match="beside s0 the suite has no"):
        search(attack, model, [replace(target, others=())], [24])
