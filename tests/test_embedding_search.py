"""The base of searches in embedding space, and the noise pairs beneath it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dorib import (
    DoribError,
    Embeddings,
    EmbeddingSearch,
    EmbeddingSearchParams,
    Ledger,
    NoisePairs,
    SearchBatch,
    SearchCost,
    SearchState,
    Seeds,
    Target,
    TargetModel,
    Trigger,
    noise_pairs,
    pair_losses,
)
from dorib.store.code import closure

SEEDS = Seeds(5, ("search", "drift"))
OTHERS = ("one tree", "two green cubes", "some sand")


class Drift(EmbeddingSearch[EmbeddingSearchParams]):
    """Goes one unit a step, and judges each step, and the start, on one pair."""

    name = "drift"
    knows = frozenset({"original image", "prompt", "embeddings"})

    def cost(self) -> SearchCost:
        restarts = self.params.restarts
        return SearchCost(step=restarts, factors=f"{restarts} restarts", start=restarts)

    def begin(self, batch: SearchBatch) -> SearchState:
        return Drifting(batch)


class Drifting(SearchState):
    def __init__(self, batch: SearchBatch) -> None:
        self.batch, self.at = batch, dict(batch.start)
        self.judged()

    @torch.no_grad()
    def judged(self) -> Tensor:
        return self.batch.losses(self.at, self.batch.pairs())

    def step(self) -> Tensor:
        self.at["prompt_embeds"] = self.at["prompt_embeds"] + 1
        return self.judged()

    def embeddings(self) -> Embeddings:
        return self.at


def targets_of(model: TargetModel, count: int = 2) -> list[Target]:
    shape = 3, model.sampling.height, model.sampling.width
    return [
        Target(
            f"s{i}", i, f"cat {i}", torch.rand(shape, generator=SEEDS.generator("image", i)), OTHERS
        )
        for i in range(count)
    ]


def search(
    model: TargetModel, targets: Sequence[Target], budgets: Sequence[int], **params: object
) -> list[Trigger]:
    ledger = Ledger()
    with model.counting(ledger):
        drift = Drift(EmbeddingSearchParams(**params))  # type: ignore[arg-type]
        return list(drift.search(model, targets, budgets, SEEDS, ledger))


def test_a_trigger_for_each_target_restart_and_budget(tiny_model: TargetModel) -> None:
    targets = targets_of(tiny_model)
    # Two restarts: 2 for the starts, 2 a step; 7 and 10 buy two steps and four.
    found = search(tiny_model, targets, [7, 10], restarts=2, start="other")
    assert [(t.sample, t.restart, t.budget) for t in found] == [
        (f"s{i}", restart, budget) for budget in (7, 10) for i in (0, 1) for restart in (0, 1)
    ]
    start = Drift(EmbeddingSearchParams(start="other")).starting_points(
        tiny_model, [targets[int(t.sample[1:])] for t in found], [t.restart for t in found], SEEDS
    )["prompt_embeds"]
    for trigger, begun in zip(found, start, strict=True):
        steps = {7: 2, 10: 4}[trigger.budget]
        assert trigger.work == 2 + 2 * steps
        assert len(trigger.trace) == steps
        assert trigger.loss == trigger.trace[-1]
        moved = trigger.embeddings["prompt_embeds"] - begun
        torch.testing.assert_close(moved, torch.full_like(moved, steps))
    for early, late in zip(found[:4], found[4:], strict=True):
        assert late.trace[:2] == early.trace


def test_the_trace_holds_the_denoising_losses(tiny_model: TargetModel) -> None:
    (target,) = targets_of(tiny_model, 1)
    (trigger,) = search(tiny_model, [target], [3])
    generator = SEEDS.generator("s0", 0)
    pairs = [noise_pairs(tiny_model, [generator]) for _ in range(3)]
    latents = tiny_model.encode_image(target.original[None])
    prompt = tiny_model.encode_prompt([target.caption])["prompt_embeds"]
    expected = [
        tiny_model.denoising_loss(
            latents, pair.noise, pair.timesteps, {"prompt_embeds": prompt + step}, torch.tensor([0])
        ).item()
        for step, pair in enumerate(pairs)
    ]
    assert trigger.trace == pytest.approx(expected[1:], rel=1e-5)


def test_a_budget_that_buys_no_step_is_refused_before_any_work(tiny_model: TargetModel) -> None:
    message = (
        r"^attack drift: a budget of 3 buys no step, which costs 2 \(2 restarts\), beside 2 before "
        r"the first; raise the budget or lower one of these$"
    )
    ledger = Ledger()
    drift = Drift(EmbeddingSearchParams(restarts=2))
    with tiny_model.counting(ledger), pytest.raises(DoribError, match=message):
        list(drift.search(tiny_model, targets_of(tiny_model), [3, 50], SEEDS, ledger))
    assert ledger.work == 0


@given(order=st.permutations(range(4)), kept=st.integers(1, 4))
@settings(max_examples=20)
def test_a_pair_does_not_depend_on_its_batch(
    tiny_model: TargetModel, order: list[int], kept: int
) -> None:
    def drawn(items: Sequence[int]) -> NoisePairs:
        return noise_pairs(tiny_model, [SEEDS.generator("pair", item) for item in items])

    everything, some = drawn(range(4)), drawn(order[:kept])
    assert torch.equal(some.noise, everything.noise[order[:kept]])
    assert torch.equal(some.timesteps, everything.timesteps[order[:kept]])
    assert some.noise.shape == (kept, *tiny_model.latent_shape)
    assert ((some.timesteps >= 0) & (some.timesteps < tiny_model.timesteps)).all()


def test_a_generator_of_several_items_gives_timesteps_first(tiny_model: TargetModel) -> None:
    lot = SEEDS.generator("lot")
    shared = noise_pairs(tiny_model, [lot, lot])
    again = SEEDS.generator("lot")
    times = [torch.randint(tiny_model.timesteps, (), generator=again) for _ in range(2)]
    noise = [torch.randn(tiny_model.latent_shape, generator=again) for _ in range(2)]
    assert torch.equal(shared.timesteps, torch.stack(times))
    assert torch.equal(shared.noise, torch.stack(noise))


def test_the_loss_may_be_towards_something_else(either_model: TargetModel) -> None:
    pairs = noise_pairs(either_model, [SEEDS.generator(i) for i in range(2)])
    latents = torch.randn((2, *either_model.latent_shape), generator=SEEDS.generator("latents"))
    prompts = either_model.encode_prompt(["a cat", "a dog"])
    samples = torch.tensor([0, 1])
    with torch.no_grad():
        noisy = either_model.add_noise(latents, pairs.noise, pairs.timesteps)
        output = either_model.predict(noisy, pairs.timesteps, prompts, samples)
        wanted = either_model.training_target(latents, pairs.noise, pairs.timesteps)
        plain = pair_losses(either_model, latents, pairs, prompts, samples)
        other = pair_losses(
            either_model, latents, pairs, prompts, samples, torch.ones_like(latents)
        )
    by_hand = (output - wanted).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(plain, by_hand)
    torch.testing.assert_close(other, (output - 1).square().mean(dim=(1, 2, 3)))


def test_the_kit_is_part_of_what_a_search_computes_with() -> None:
    assert {"dorib.kit.embedding_search", "dorib.kit.noise_pairs"} <= set(
        closure("dorib.EmbeddingSearch")
    )
