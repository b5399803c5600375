"""The gradient-free search: its estimate, its budgets, its independence of batch and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dorib import (
    DoribError,
    Edit,
    Ledger,
    ScaleOutputs,
    Seeds,
    Target,
    TargetModel,
    Trigger,
    starting_embeddings,
)
from dorib.target.model import DiffusersModel
from dorib_evolution import EvolutionParams
from dorib_evolution.attack import Evolution
from dorib_evolution.directions import principal_components

SEEDS = Seeds(3, ("search", "evolution"))
CAPTIONS = ("a red star", "small blue ring", "cat on a mat")
OTHERS = ("one tree", "two green cubes", "some sand", "the sea at night", "a hill")


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
    **params: object,
) -> list[Trigger]:
    ledger = ledger or Ledger()
    evolution = Evolution(EvolutionParams(**{"pairs": 2, "judging_pairs": 2, **params}))  # type: ignore[arg-type]
    with model.counting(ledger):
        return list(evolution.search(model, targets, budgets, SEEDS, ledger))


def embedding(trigger: Trigger) -> Tensor:
    return trigger.embeddings["prompt_embeds"]


def by_hand(
    model: TargetModel, target: Target, steps: int, width: float, length: float
) -> tuple[Tensor, list[float]]:
    """The strategy by its definition, two mutations a step, two pairs that judge it."""
    generator, judge = SEEDS.generator(target.sample, 0), SEEDS.generator(target.sample, "judging")
    latents = model.encode_image(target.original[None])
    components = principal_components(model, [target], 64)[0]
    start = model.encode_prompt([target.caption])["prompt_embeds"][0]
    index = torch.zeros(1, dtype=torch.int64)

    def embeddings(point: Tensor) -> Tensor:
        return start + (point @ components).view_as(start)

    def draw(source: torch.Generator) -> tuple[Tensor, Tensor]:
        timestep = torch.randint(model.timesteps, (1,), generator=source)
        return timestep, torch.randn((1, *model.latent_shape), generator=source)

    def loss(point: Tensor, pair: tuple[Tensor, Tensor]) -> float:
        prompt = {"prompt_embeds": embeddings(point)[None]}
        with torch.no_grad():
            return float(model.denoising_loss(latents, pair[1], pair[0], prompt, index))

    judging = [draw(judge), draw(judge)]
    point = torch.zeros(len(components))
    lowest = sum(loss(point, pair) for pair in judging) / 2
    direction, trace = torch.zeros_like(point), []
    for _ in range(steps):
        slope = torch.zeros_like(point)
        for _ in range(2):
            mutation = torch.randn(point.shape, generator=generator)
            pair = draw(generator)
            up, down = (loss(point + sign * width * mutation, pair) for sign in (1, -1))
            slope += (up - down) / (2 * width) * mutation / 2
        direction = 0.8 * direction + 0.2 * slope
        tried = point - length * direction / direction.square().mean().sqrt()
        found = sum(loss(tried, pair) for pair in judging) / 2
        if found < lowest:
            point, lowest, length = tried, found, length * 1.5
        else:
            length *= 0.7
        trace.append(lowest)
    return embeddings(point), trace


def assert_same_search(one: Trigger, other: Trigger) -> None:
    """Within rounding, which the difference of two losses and the step's scale both enlarge."""
    assert one.trace == pytest.approx(other.trace, abs=1e-4)
    torch.testing.assert_close(embedding(one), embedding(other), atol=5e-3, rtol=0)


def test_the_search_is_the_strategy_by_its_definition(either_model: TargetModel) -> None:
    target = targets_of(either_model)[1]
    (trigger,) = search(either_model, [target], [2 + 6 * 6], mutation=0.5, step=0.4)
    expected, trace = by_hand(either_model, target, steps=6, width=0.5, length=0.4)
    assert len(trigger.trace) == 6
    found = Trigger("s1", 38, embeddings={"prompt_embeds": expected}, trace=tuple(trace))
    assert_same_search(trigger, found)


def test_a_search_never_ends_worse_than_it_started(tiny_model: TargetModel) -> None:
    # Steps far too long at first: most are refused, and none that hurts is taken.
    triggers = search(tiny_model, targets_of(tiny_model), [2 + 6 * 12], step=50, start="prompt")
    for trigger in triggers:
        assert list(trigger.trace) == sorted(trigger.trace, reverse=True)
        assert len(set(trigger.trace)) < len(trigger.trace)
        assert trigger.loss == trigger.trace[-1]


def test_no_gradient_is_needed_nor_taken(make_model: Callable[..., TargetModel]) -> None:
    model = make_model()
    targets, ledger = targets_of(model), Ledger()
    plain = search(model, targets, [12], ledger=ledger)
    assert not ledger.backward_items
    assert not any(embedding(trigger).requires_grad for trigger in plain)
    assert "gradients" not in Evolution.knows
    # A mitigation that breaks gradients: the values are the same, the slopes are zero.
    model.unet.register_forward_hook(lambda module, arguments, output: (output[0].detach(),))
    broken = search(model, targets, [12])
    for one, other in zip(plain, broken, strict=True):
        assert torch.equal(embedding(one), embedding(other))
    # The caller's gradients are on again between two triggers.
    with model.counting(ledger):
        next(Evolution(EvolutionParams()).search(model, targets, [24], SEEDS, ledger))
    assert torch.is_grad_enabled()


def test_a_target_alone_is_what_it_is_in_a_batch(tiny_model: TargetModel) -> None:
    targets = targets_of(tiny_model)
    together = search(tiny_model, targets, [24], restarts=2, start="other")
    alone = search(tiny_model, [replace(targets[2], index=0)], [24], restarts=2, start="other")
    assert [(t.sample, t.restart) for t in alone] == [("s2", 0), ("s2", 1)]
    for one in alone:
        same = next(t for t in together if (t.sample, t.restart) == (one.sample, one.restart))
        assert_same_search(one, same)


def test_the_search_lowers_the_loss_on_noise_it_has_not_seen(tiny_model: TargetModel) -> None:
    targets = targets_of(tiny_model)[:2]
    triggers = search(tiny_model, targets, [200], pairs=4, judging_pairs=8, start="random")
    generators = [SEEDS.generator(target.sample, 0) for target in targets]
    starts = starting_embeddings(tiny_model, targets, generators, "random")["prompt_embeds"]
    for target, trigger, start in zip(targets, triggers, starts, strict=True):
        assert held_out_loss(tiny_model, target, embedding(trigger)) < held_out_loss(
            tiny_model, target, start
        )


def held_out_loss(model: TargetModel, target: Target, prompt: Tensor) -> float:
    generator = SEEDS.generator("held out")
    timesteps = torch.randint(model.timesteps, (64,), generator=generator)
    noise = torch.randn((64, *model.latent_shape), generator=generator)
    latents = model.encode_image(target.original[None]).expand_as(noise)
    embeddings = {"prompt_embeds": prompt.expand(64, *prompt.shape)}
    samples = torch.zeros(64, dtype=torch.int64)
    with torch.no_grad():
        return model.denoising_loss(latents, noise, timesteps, embeddings, samples).mean().item()


def test_budgets_are_stages_of_one_search(tiny_model: TargetModel) -> None:
    targets, ledger = targets_of(tiny_model), Ledger()
    # To judge two restarts' starts costs 4, each step of them 12: one, the same one, three.
    triggers = search(tiny_model, targets, [20, 23, 41], ledger=ledger, restarts=2)
    assert {(t.sample, t.restart, t.budget) for t in triggers} == {
        (f"s{i}", restart, budget)
        for i in range(3)
        for restart in range(2)
        for budget in (20, 23, 41)
    }
    for trigger in triggers:
        steps = {20: 1, 23: 1, 41: 3}[trigger.budget]
        assert len(trigger.trace) == steps
        assert trigger.work == 4 + steps * 12
    assert [ledger.work_of(i) for i in range(3)] == [40] * 3
    shorter = search(tiny_model, targets, [20], restarts=2)
    for short, first in zip(shorter, triggers[:6], strict=True):
        assert torch.equal(embedding(short), embedding(first))
    for early, late in zip(triggers[:6], triggers[-6:], strict=True):
        assert late.trace[:1] == early.trace
    assert any(late.trace[-1] < late.trace[0] for late in triggers[-6:])


def test_each_sample_is_searched_under_its_own_edit(tiny_model: TargetModel) -> None:
    targets = targets_of(tiny_model)
    widths = {n: m.out_features for n, m in tiny_model.cross_attention_value_layers().items()}
    generator = torch.Generator().manual_seed(0)
    scales = {n: torch.rand(2, width, generator=generator).round() for n, width in widths.items()}
    with tiny_model.edited(Edit(ScaleOutputs(scales), "per_sample", ("s0", "s1")), rows=[1, 0, 1]):
        mixed = search(tiny_model, targets, [12])
    for target, row in zip(targets, [1, 0, 1], strict=True):
        own = Edit(ScaleOutputs({name: scale[row] for name, scale in scales.items()}))
        with tiny_model.edited(own):
            (alone,) = search(tiny_model, [replace(target, index=0)], [12])
        assert_same_search(mixed[target.index], alone)


@pytest.mark.parametrize("start", ["prompt", "other", "normal", "random"])
def test_the_search_moves_from_its_start_by_what_captions_differ_in(
    tiny_model: TargetModel, start: str
) -> None:
    targets = targets_of(tiny_model)
    triggers = search(tiny_model, targets, [38], start=start, step=0.1)
    generators = [SEEDS.generator(target.sample, 0) for target in targets]
    starts = starting_embeddings(tiny_model, targets, generators, start)["prompt_embeds"]
    moved = torch.stack([embedding(trigger) for trigger in triggers]) - starts
    components = principal_components(tiny_model, targets, 64)
    assert moved.abs().max() > 0.01
    for move, basis in zip(moved.flatten(1), components, strict=True):
        within = torch.linalg.lstsq(basis.T, move[:, None]).solution
        torch.testing.assert_close(basis.T @ within, move[:, None], atol=1e-3, rtol=0)


def test_directions_are_turned_by_rule_whatever_the_library_gives(
    tiny_model: TargetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = targets_of(tiny_model)[0]
    expected = principal_components(tiny_model, [target], 64)[0]
    largest = expected.abs().argmax(dim=1, keepdim=True)
    assert (expected.gather(1, largest) > 0).all()
    svd = torch.linalg.svd

    def turned(matrix: Tensor, full_matrices: bool) -> tuple[Tensor, Tensor, Tensor]:
        left, spread, right = svd(matrix, full_matrices=full_matrices)
        signs = torch.tensor([(-1.0) ** row for row in range(len(right))])
        return left * signs, spread, right * signs[:, None]

    monkeypatch.setattr(torch.linalg, "svd", turned)
    assert torch.equal(principal_components(tiny_model, [target], 64)[0], expected)


def test_each_target_has_the_directions_of_its_own_captions(tiny_model: TargetModel) -> None:
    first, second = targets_of(tiny_model)[:2]
    second = replace(second, other_captions=CAPTIONS[2:] + OTHERS[1:])
    together = principal_components(tiny_model, [first, second, first], 3)
    for target, found in zip([first, second, first], together, strict=True):
        assert torch.equal(found, principal_components(tiny_model, [target], 3)[0])
    assert not torch.allclose(together[0], together[1], atol=1e-3)


@given(count=st.integers(1, 8), captions=st.integers(2, 5))
@settings(max_examples=12)
def test_components_vary_as_captions_do(tiny_model: TargetModel, count: int, captions: int) -> None:
    chosen = OTHERS[:captions]
    target = replace(targets_of(tiny_model)[0], other_captions=chosen)
    (components,) = principal_components(tiny_model, [target], count)
    assert len(components) == min(count, captions - 1)
    across = components @ components.T
    assert torch.allclose(across, across.diag().diag(), atol=1e-3)
    assert torch.equal(across.diag(), across.diag().sort(descending=True).values)
    if count >= captions - 1:
        embeddings = tiny_model.encode_prompt(chosen)["prompt_embeds"].flatten(1)
        torch.testing.assert_close(across.trace(), embeddings.var(dim=0).sum(), rtol=1e-3, atol=0)


def test_bad_settings_are_one_clear_line(tiny_model: TargetModel) -> None:
    targets, ledger = targets_of(tiny_model), Ledger()
    with pytest.raises(
        DoribError,
        match=r"budget of 15 buys no step, which costs 12 \(2 restarts x \(2 x 2 pairs \+ 2 "
        r"judging_pairs\)\), beside 4 before the first",
    ):
        search(tiny_model, targets, [15, 100], ledger=ledger, restarts=2)
    lonely = [replace(targets[0], other_captions=("one tree",))]
    with pytest.raises(DoribError, match="sample s0 comes with 1 captions"):
        search(tiny_model, lonely, [8], ledger=ledger)
    assert ledger.work == 0


def test_the_model_is_left_as_it_was(tiny_model: TargetModel) -> None:
    before = {name: value.clone() for name, value in tiny_model.unet.state_dict().items()}
    search(tiny_model, targets_of(tiny_model), [12])
    after = tiny_model.unet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_half_precision_models_are_searched_in_full_precision(
    make_model: Callable[..., TargetModel],
) -> None:
    model = make_model()
    full = search(model, targets_of(model), [16])
    half = DiffusersModel(model.pipeline.to(dtype=torch.bfloat16), model.sampling)
    for low, high in zip(search(half, targets_of(half), [16]), full, strict=True):
        assert embedding(low).dtype == torch.float32
        assert low.trace == pytest.approx(high.trace, rel=0.05)
