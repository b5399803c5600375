"""What share of the machine's matrix rate the U-Net reaches, forward and backward.

By processor time, so that others on a busy machine do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dorib.verbs.context import RunContext

T = TypeVar("T")

ROUNDS = 3
MATRIX_SIDE = 1024


def test_roofline(benchmark: BenchmarkFixture, context: RunContext) -> None:
    model, batch = context.model, context.batch_size
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn((batch, *model.latent_shape), generator=generator)
    timesteps = torch.full((batch,), model.timesteps // 2)
    prompts = model.encode_prompt(["a prompt"] * batch)["prompt_embeds"].requires_grad_()

    def forward() -> Tensor:
        output: Tensor = model.unet(latents, timesteps, prompts, return_dict=False)[0]
        return output

    @torch.no_grad()
    def without_gradients() -> Tensor:
        return forward()

    a, b = torch.rand((2, MATRIX_SIDE, MATRIX_SIDE), generator=generator)
    matrix_rate = 2 * MATRIX_SIDE**3 / quickest(lambda: None, lambda _: a @ b)
    forward_rate = rate(lambda: None, lambda _: without_gradients())
    backward_rate = rate(forward, lambda output: output.backward(torch.ones_like(output)))
    benchmark.pedantic(without_gradients, rounds=ROUNDS)
    benchmark.extra_info |= {
        "matrix_gflops": matrix_rate / 1e9,
        "forward_share": forward_rate / matrix_rate,
        "backward_share": backward_rate / matrix_rate,
    }
    shares = f"{forward_rate / matrix_rate:.0%} forward, {backward_rate / matrix_rate:.0%} backward"
    print(f"\nof {matrix_rate / 1e9:.0f} GFLOP/s: {shares}")


def rate(before: Callable[[], T], work: Callable[[T], object]) -> float:
    """Floating-point operations in a second of processor time."""
    made = before()
    counter = FlopCounterMode(display=False)
    with counter:
        work(made)
    return counter.get_total_flops() / quickest(before, work)


def quickest(before: Callable[[], T], work: Callable[[T], object]) -> float:
    """Processor time of the quickest of some rounds, each with what `before` makes."""
    seconds = []
    for _ in range(ROUNDS):
        made = before()
        begin = time.process_time()
        work(made)
        seconds.append(time.process_time() - begin)
    return min(seconds)
