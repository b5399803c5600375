"""The verbs `generate` and `attack` against bare loops over the same U-Net calls.

Both sides of a ratio are timed alternately in one run, so that a busy machine slows both. The
quickest round of each side counts: noise only ever adds time.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from dorib.contracts.specs import MethodSpec
from dorib.host.configure import configure
from dorib.host.registry import Registry
from dorib.verbs.attack import attack
from dorib.verbs.context import RunContext, Subject
from dorib.verbs.generate import generate_attacked
from dorib.verbs.mitigate import Mitigated, mitigate

LARGEST_RATIO = 1.10
ROUNDS = 5
STEPS = 2
"""Optimisation steps of the attack."""
PAIRS = 8
"""(timestep, noise) pairs in each of them."""


@pytest.fixture
def subjects(context: RunContext) -> Sequence[Subject]:
    """One full batch, memorized samples and controls as they come."""
    chosen = [*context.memorized, *context.controls][: context.batch_size]
    if len(chosen) < context.batch_size:
        pytest.skip(f"suite {context.suite.name} has too few samples for a batch")
    return chosen


@pytest.fixture
def unmitigated(context: RunContext, registry: Registry) -> Mitigated:
    none = configure(registry, "mitigation", MethodSpec(name="none"))
    return mitigate(context, none, context.memorized)


def unet_inputs(context: RunContext, items: int) -> tuple[torch.Tensor, ...]:
    model = context.model
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn((items, *model.latent_shape), generator=generator)
    timesteps = torch.full((items,), model.timesteps // 2)
    prompts = model.encode_prompt(["a prompt"] * items)["prompt_embeds"]
    return latents, timesteps, prompts


def bare_sampling(context: RunContext, items: int) -> Callable[[], None]:
    """The U-Net calls of guided sampling, and nothing else."""
    sampling, unet = context.suite.manifest.sampling, context.model.unet
    factor = 2 if sampling.guidance_scale > 1 else 1
    latents, timesteps, prompts = unet_inputs(context, factor * items)

    @torch.no_grad()
    def loop() -> None:
        for _ in range(sampling.steps):
            unet(latents, timesteps, prompts, return_dict=False)

    return loop


def bare_search(context: RunContext, items: int) -> Callable[[], None]:
    """The U-Net's forward and backward passes of a search, and nothing else."""
    latents, timesteps, prompts = unet_inputs(context, items)
    unet = context.model.unet

    def loop() -> None:
        for _ in range(STEPS * PAIRS):
            embeddings = prompts.clone().requires_grad_()
            output = unet(latents, timesteps, embeddings, return_dict=False)[0]
            output.backward(torch.ones_like(output))

    return loop


def assert_small_overhead(
    benchmark: BenchmarkFixture,
    context: RunContext,
    bare: Callable[[], None],
    verb: Callable[[], object],
    kind: str,
) -> None:
    """Time `bare` before each round of `verb`, whose artefacts are removed between rounds."""
    bare()
    bare_seconds: list[float] = []

    def before_each_round() -> None:
        shutil.rmtree(context.store.root / kind, ignore_errors=True)
        start = time.perf_counter()
        bare()
        bare_seconds.append(time.perf_counter() - start)

    benchmark.pedantic(verb, setup=before_each_round, rounds=ROUNDS, warmup_rounds=1)
    quickest = min(bare_seconds)
    ratio = benchmark.stats.stats.min / quickest
    benchmark.extra_info |= {"bare_seconds": quickest, "ratio": ratio}
    print(f"\n{kind}: {ratio:.3f} of the bare loop's {quickest:.2f} s")
    assert ratio <= LARGEST_RATIO


def test_generate(
    benchmark: BenchmarkFixture,
    context: RunContext,
    registry: Registry,
    unmitigated: Mitigated,
    subjects: Sequence[Subject],
) -> None:
    context.profile = context.profile.model_copy(update={"seeds": 1})
    own_prompt = configure(registry, "attack", MethodSpec(name="none"))
    attacked = attack(context, unmitigated, own_prompt, subjects)
    assert_small_overhead(
        benchmark,
        context,
        bare_sampling(context, len(subjects)),
        lambda: generate_attacked(context, unmitigated, attacked, subjects),
        "images",
    )


def test_dori(
    benchmark: BenchmarkFixture,
    context: RunContext,
    registry: Registry,
    unmitigated: Mitigated,
    subjects: Sequence[Subject],
) -> None:
    budget = STEPS * PAIRS * 3
    context.profile = context.profile.model_copy(update={"budgets": (budget,)})
    dori = configure(registry, "attack", MethodSpec(name="dori", params={"pairs": PAIRS}))
    assert_small_overhead(
        benchmark,
        context,
        bare_search(context, len(subjects)),
        lambda: attack(context, unmitigated, dori, subjects),
        "triggers",
    )
