import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dorib import DoribError, Edit, Ledger, ScaleOutputs, Seeds, Target, TargetModel, Trigger
from dorib.kit.starts import another_caption, gaussian, starting_embeddings
from dorib.target.model import DiffusersModel
from dorib_dori import DoriParams
from dorib_dori.attack import Dori

SEEDS = Seeds(3, ("search", "dori"))
CAPTIONS = ("a red star", "small blue ring", "cat on a mat")
OTHERS = ("one tree", "two green cubes", "some sand", "the sea at night")


def targets_of(model: TargetModel, captions: Sequence[str] = CAPTIONS) -> list[Target]:
    shape = 3, model.sampling.height, model.sampling.width
    return [
        Target(
            f"s{i}", i, caption, torch.rand(shape, generator=SEEDS.generator("image", i)), OTHERS
        )
        for i, caption in enumerate(captions)
    ]


def search(
    model: TargetModel,
    targets: Sequence[Target],
    budgets: Sequence[int],
    ledger: Ledger | None = None,
    **params,
) -> list[Trigger]:
    ledger = ledger or Ledger()
    dori = Dori(DoriParams(**{"pairs": 2, **params}))
    with model.counting(ledger):
        return list(dori.search(model, targets, budgets, SEEDS, ledger))


def embedding(trigger: Trigger) -> Tensor:
    return trigger.embeddings["prompt_embeds"]


def plain_loss(
    model: TargetModel, image: Tensor, pairs: Sequence[tuple[Tensor, Tensor]], prompt: Tensor
) -> Tensor:
    """The training loss by its definition, pair by pair, with diffusers' own parts."""
    scheduler, unet = model.pipeline.scheduler, model.pipeline.unet
    clean = model.encode_image(image[None])
    losses = []
    for timestep, noise in pairs:
        noisy = scheduler.add_noise(clean, noise[None], timestep[None])
        wanted = noise[None]
        if scheduler.config.prediction_type == "v_prediction":
            wanted = scheduler.get_velocity(clean, noise[None], timestep[None])
        output = unet(noisy, timestep, prompt[None]).sample
        losses.append(torch.nn.functional.mse_loss(output, wanted))
    return torch.stack(losses).mean()


def draw(model: TargetModel, generator: torch.Generator, count: int) -> list[tuple[Tensor, Tensor]]:
    return [
        (
            torch.randint(model.timesteps, (), generator=generator),
            torch.randn(model.latent_shape, generator=generator),
        )
        for _ in range(count)
    ]


def held_out_loss(model: TargetModel, target: Target, prompt: Tensor) -> float:
    pairs = draw(model, SEEDS.generator("held out"), 64)
    timesteps, noise = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    latents = model.encode_image(target.original[None]).expand_as(noise)
    embeddings = {"prompt_embeds": prompt.expand(64, *prompt.shape)}
    with torch.no_grad():
        samples = torch.zeros(64, dtype=torch.int64)
        return model.denoising_loss(latents, noise, timesteps, embeddings, samples).mean().item()


def assert_same_search(one: Trigger, other: Trigger) -> None:
    """Equal to 1e-5, in the trace and the embedding.

    Where a gradient is zero but for rounding, Adam's normalised step hangs on the last digits: one
    entry in a hundred may.
    """
    assert one.trace == pytest.approx(other.trace, abs=1e-5)
    apart = (embedding(one) - embedding(other)).abs() > 1e-5
    assert apart.float().mean() < 0.01


def test_three_steps_equal_adam_by_hand(either_model: TargetModel) -> None:
    target = targets_of(either_model)[1]
    (trigger,) = search(either_model, [target], [18], learning_rate=0.05)

    generator = SEEDS.generator("s1", 0)
    prompt = either_model.encode_prompt([target.caption])["prompt_embeds"][0].clone()
    first, second, trace = torch.zeros_like(prompt), torch.zeros_like(prompt), []
    for step in range(1, 4):
        prompt = prompt.detach().requires_grad_()
        pairs = draw(either_model, generator, 2)
        loss = plain_loss(either_model, target.original, pairs, prompt)
        (gradient,) = torch.autograd.grad(loss, prompt)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        rate = 0.05 * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        prompt = prompt - rate * first / (second.sqrt() + 1e-8 * math.sqrt(1 - 0.999**step))
        trace.append(loss.item())
    by_hand = Trigger("s1", 18, embeddings={"prompt_embeds": prompt.detach()}, trace=tuple(trace))
    assert_same_search(trigger, by_hand)


def test_a_target_alone_is_what_it_is_in_a_batch(tiny_model: TargetModel) -> None:
    targets = targets_of(tiny_model)
    together = search(tiny_model, targets, [36], restarts=2, start="other")
    alone = search(tiny_model, [replace(targets[2], index=0)], [36], restarts=2, start="other")
    assert [(t.sample, t.restart) for t in alone] == [("s2", 0), ("s2", 1)]
    for one in alone:
        same = next(t for t in together if (t.sample, t.restart) == (one.sample, one.restart))
        assert_same_search(one, same)


def test_the_search_lowers_the_loss_on_noise_it_has_not_seen(tiny_model: TargetModel) -> None:
    targets = targets_of(tiny_model)[:2]
    triggers = search(tiny_model, targets, [24 * 12], pairs=8, start="random")
    for target, trigger in zip(targets, triggers, strict=True):
        assert len(trigger.trace) == 12
        start = gaussian(tiny_model, [target], [SEEDS.generator(target.sample, 0)])[
            "prompt_embeds"
        ][0]
        prompt = tiny_model.encode_prompt([target.caption])["prompt_embeds"][0]
        found, at_start, at_prompt = (
            held_out_loss(tiny_model, target, point)
            for point in (embedding(trigger), start, prompt)
        )
        assert found < at_start
        assert found < at_prompt


def test_budgets_are_stages_of_one_search(tiny_model: TargetModel) -> None:
    targets, ledger = targets_of(tiny_model), Ledger()
    # A step of two restarts with two pairs costs 12; 30 and 35 buy two, 61 buys five.
    triggers = search(tiny_model, targets, [30, 35, 61], ledger=ledger, restarts=2)
    assert len(triggers) == 3 * 2 * 3
    assert {(t.sample, t.restart, t.budget) for t in triggers} == {
        (f"s{i}", restart, budget)
        for i in range(3)
        for restart in range(2)
        for budget in (30, 35, 61)
    }
    for trigger in triggers:
        steps = {30: 2, 35: 2, 61: 5}[trigger.budget]
        assert len(trigger.trace) == steps
        assert trigger.work == steps * 12
        assert trigger.loss == pytest.approx(sum(trigger.trace) / steps)
    assert all(ledger.forward_items[i] == 20 == ledger.backward_items[i] for i in range(3))

    shorter = search(tiny_model, targets, [30], restarts=2)
    for short, first in zip(shorter, triggers[:6], strict=True):
        assert torch.equal(embedding(short), embedding(first))
    final = {(t.sample, t.restart): t for t in triggers[-6:]}
    for trigger in triggers[:6]:
        assert final[trigger.sample, trigger.restart].trace[:2] == trigger.trace
        assert not torch.equal(
            embedding(trigger), embedding(final[trigger.sample, trigger.restart])
        )


def test_the_loss_is_the_mean_of_the_last_ten_steps(tiny_model: TargetModel) -> None:
    (trigger,) = search(tiny_model, targets_of(tiny_model)[:1], [36], pairs=1)
    assert len(trigger.trace) == 12
    assert trigger.loss == pytest.approx(sum(trigger.trace[2:]) / 10)


def test_each_sample_is_searched_under_its_own_edit(tiny_model: TargetModel) -> None:
    targets = targets_of(tiny_model)
    widths = {n: m.out_features for n, m in tiny_model.cross_attention_value_layers().items()}
    generator = torch.Generator().manual_seed(0)
    scales = {n: torch.rand(2, width, generator=generator).round() for n, width in widths.items()}
    edit = Edit(ScaleOutputs(scales), "per_sample", ("s0", "s1"))
    with tiny_model.edited(edit, rows=[1, 0, 1]):
        mixed = search(tiny_model, targets, [18])
    for target, row in zip(targets, [1, 0, 1], strict=True):
        own = Edit(ScaleOutputs({name: scale[row] for name, scale in scales.items()}))
        with tiny_model.edited(own):
            (alone,) = search(tiny_model, [target], [18])
        assert_same_search(mixed[target.index], alone)
    unedited = search(tiny_model, targets, [18])
    for with_edit, without in zip(mixed, unedited, strict=True):
        assert not torch.allclose(embedding(with_edit), embedding(without), atol=1e-3)


@pytest.mark.parametrize("start", ["prompt", "other", "normal", "random"])
def test_starts(tiny_model: TargetModel, start: str) -> None:
    targets = targets_of(tiny_model)
    # So small a learning rate that the search stays where it starts.
    triggers = search(tiny_model, targets, [12], start=start, restarts=2, learning_rate=1e-9)
    own = tiny_model.encode_prompt(CAPTIONS)["prompt_embeds"]
    others = tiny_model.encode_prompt(OTHERS)["prompt_embeds"]
    for trigger in triggers:
        prompt = own[int(trigger.sample[1:])]
        is_own = torch.allclose(embedding(trigger), prompt, atol=1e-5)
        is_other = any(torch.allclose(embedding(trigger), other, atol=1e-5) for other in others)
        assert (is_own, is_other) == (start == "prompt", start == "other")
    if start in ("normal", "random"):
        drawn = torch.stack([embedding(t) for t in triggers]).view(3, 2, *own.shape[1:])
        assert not torch.allclose(drawn[:, 0], drawn[:, 1])
        entries = own[0].numel()
        for found, prompt in zip(drawn, own, strict=True):
            of_prompt = (prompt.mean(), prompt.std())
            mean, spread = of_prompt if start == "random" else (torch.zeros(()), torch.ones(()))
            # Within five standard errors.
            error = 5 * spread / math.sqrt(entries)
            assert abs(found[0].mean() - mean) < error
            assert abs(found[0].std() - spread) < error


def test_normal_is_the_same_noise_whatever_the_prompt(tiny_model: TargetModel) -> None:
    """A start that knows nothing of the prompt: not its mean, not its spread."""
    target = targets_of(tiny_model)[0]
    points = [
        starting_embeddings(tiny_model, [asked], [SEEDS.generator("s0", 0)], start)["prompt_embeds"]
        for start in ("normal", "random")
        for asked in (target, replace(target, caption="quite another text, and a longer one"))
    ]
    assert torch.equal(points[0], points[1])
    assert not torch.equal(points[2], points[3])


@pytest.mark.parametrize("start", ["prompt", "other", "normal", "random"])
def test_starting_points_are_where_the_search_starts(tiny_model: TargetModel, start: str) -> None:
    targets = targets_of(tiny_model)
    params = {"start": start, "restarts": 2, "learning_rate": 1e-9}
    triggers = search(tiny_model, targets, [12], **params)
    dori = Dori(DoriParams(**params))
    behind = [targets[int(trigger.sample[1:])] for trigger in triggers]
    restarts = [trigger.restart for trigger in triggers]
    points = dori.starting_points(tiny_model, behind, restarts, SEEDS)["prompt_embeds"]
    found = torch.stack([embedding(trigger) for trigger in triggers])
    torch.testing.assert_close(points, found, atol=1e-5, rtol=0)


def test_other_never_draws_the_targets_own_caption(tiny_model: TargetModel) -> None:
    target = replace(targets_of(tiny_model)[0], other_captions=(CAPTIONS[0], OTHERS[0]))
    generators = [SEEDS.generator("draw", i) for i in range(20)]
    drawn = another_caption(tiny_model, [target] * 20, generators)["prompt_embeds"]
    other = tiny_model.encode_prompt([OTHERS[0]])["prompt_embeds"]
    torch.testing.assert_close(drawn, other.expand_as(drawn))


def test_other_captions_are_drawn_by_lot(tiny_model: TargetModel) -> None:
    target = targets_of(tiny_model)[0]
    generators = [SEEDS.generator("draw", i) for i in range(40)]
    drawn = another_caption(tiny_model, [target] * 40, generators)["prompt_embeds"]
    others = tiny_model.encode_prompt(OTHERS)["prompt_embeds"]
    for other in others:
        assert any(torch.allclose(one, other, atol=1e-5) for one in drawn)


def test_random_is_noise_with_the_mean_and_the_deviation_of_all_entries(
    make_model: Callable[..., DiffusersModel],
) -> None:
    model = make_model()
    # Random weights give embeddings of mean 0.
    model.pipeline.text_encoder.get_submodule("final_layer_norm").bias.data += 0.5
    targets = targets_of(model)[:2]
    found = gaussian(model, targets, [SEEDS.generator("start", i) for i in range(2)])
    prompts = model.encode_prompt(CAPTIONS[:2])["prompt_embeds"]
    assert prompts.mean() > 0.4
    for i, (start, prompt) in enumerate(zip(found["prompt_embeds"], prompts, strict=True)):
        noise = torch.randn(prompt.shape, generator=SEEDS.generator("start", i))
        torch.testing.assert_close(start, prompt.mean() + prompt.std() * noise)


def test_bad_settings_are_one_clear_line(tiny_model: TargetModel) -> None:
    targets, ledger = targets_of(tiny_model), Ledger()
    with pytest.raises(DoribError, match=r"budget of 11 buys no step, which costs 12 \(2 restarts"):
        search(tiny_model, targets, [11, 100], ledger=ledger, restarts=2)
    lonely = [replace(targets[0], other_captions=(CAPTIONS[0],))]
    with pytest.raises(DoribError, match="set start=prompt or start=normal"):
        search(tiny_model, lonely, [12], ledger=ledger, start="other")
    assert ledger.work == 0


def test_the_model_is_left_as_it_was(tiny_model: TargetModel) -> None:
    before = {name: value.clone() for name, value in tiny_model.unet.state_dict().items()}
    search(tiny_model, targets_of(tiny_model), [18])
    after = tiny_model.unet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in tiny_model.unet.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_searched_in_full_precision(
    make_model: Callable[..., DiffusersModel], dtype: torch.dtype
) -> None:
    model = make_model()
    full = search(model, targets_of(model), [30])
    model = DiffusersModel(model.pipeline.to(dtype=dtype), model.sampling)
    half = search(model, targets_of(model), [30])
    for low, high in zip(half, full, strict=True):
        assert embedding(low).dtype == torch.float32
        assert low.trace == pytest.approx(high.trace, rel=0.05)
        moved = torch.nn.functional.cosine_similarity(
            embedding(low).flatten(), embedding(high).flatten(), dim=0
        )
        assert moved > 0.95
