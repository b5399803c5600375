"""The verbs `generate` and `attack` against bare loops over the same U-Net calls, and diffusers.

Both sides of a ratio are timed alternately in one run, so that a busy machine slows both. The
quickest round of each side counts: noise only ever adds time.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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


def sampling_by_diffusers(
    context: RunContext, subjects: Sequence[Subject], folder: Path
) -> Callable[[], None]:
    """Pictures on disk from diffusers' own pipeline, with a callback at each step."""
    sampling = context.suite.manifest.sampling
    pipeline = context.model.pipeline

    def at_each_step(_: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return tensors

    def loop() -> None:
        made = pipeline(
            [subject.caption for subject in subjects],
            height=sampling.height,
            width=sampling.width,
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            generator=[torch.Generator().manual_seed(n) for n in range(len(subjects))],
            callback_on_step_end=at_each_step,
        )
        for number, image in enumerate(made.images):
            image.save(folder / f"{number}.png")

    return loop


def overhead(
    benchmark: BenchmarkFixture,
    context: RunContext,
    bare: Callable[[], None],
    verb: Callable[[], object],
    kind: str,
) -> None:
    """Time `bare` before each round of `verb`, whose artefacts are removed between rounds.

    Records the verb's time over that of `bare`, the quickest round of each.
    """
    bare()
    bare_seconds: list[float] = []
    # Processor time as well: unlike wall time it does not wait for others on a busy machine.
    processor: tuple[list[float], list[float]] = ([], [])

    def before_each_round() -> None:
        shutil.rmtree(context.store.root / kind, ignore_errors=True)
        start, started = time.perf_counter(), time.process_time()
        bare()
        bare_seconds.append(time.perf_counter() - start)
        processor[0].append(time.process_time() - started)

    def timed() -> None:
        started = time.process_time()
        verb()
        processor[1].append(time.process_time() - started)

    benchmark.pedantic(timed, setup=before_each_round, rounds=ROUNDS, warmup_rounds=1)
    quickest = min(bare_seconds)
    ratio = benchmark.stats.stats.min / quickest
    processor_ratio = min(processor[1]) / min(processor[0])
    benchmark.extra_info |= {
        "bare_seconds": quickest,
        "ratio": ratio,
        "processor_ratio": processor_ratio,
    }
    print(
        f"\n{kind}: {ratio:.3f} of the other's {quickest:.2f} s, by processor time "
        f"{processor_ratio:.3f}"
    )


def generating(
    context: RunContext, registry: Registry, unmitigated: Mitigated, subjects: Sequence[Subject]
) -> Callable[[], object]:
    """The verb, on the samples' own prompts."""
    context.profile = context.profile.model_copy(update={"seeds": 1})
    own_prompt = configure(registry, "attack", MethodSpec(name="none"))
    attacked = attack(context, unmitigated, own_prompt, subjects)
    return lambda: generate_attacked(context, unmitigated, attacked, subjects)


def test_generate(
    benchmark: BenchmarkFixture,
    context: RunContext,
    registry: Registry,
    unmitigated: Mitigated,
    subjects: Sequence[Subject],
) -> None:
    verb = generating(context, registry, unmitigated, subjects)
    bare = bare_sampling(context, len(subjects))
    overhead(benchmark, context, bare, verb, "images")


def test_generate_as_diffusers(
    benchmark: BenchmarkFixture,
    context: RunContext,
    registry: Registry,
    unmitigated: Mitigated,
    subjects: Sequence[Subject],
    tmp_path: Path,
) -> None:
    verb = generating(context, registry, unmitigated, subjects)
    other = sampling_by_diffusers(context, subjects, tmp_path)
    overhead(benchmark, context, other, verb, "images")


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
    overhead(
        benchmark,
        context,
        bare_search(context, len(subjects)),
        lambda: attack(context, unmitigated, dori, subjects),
        "triggers",
    )
