"""U-Net items a second, against batch size, and what share of the device's matrix rate that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from dorib import Ledger, Seeds, Target, TargetModel
from dorib.contracts.suite_view import SamplingSettings
from dorib.target.model import DiffusersModel
from dorib_dori import DoriParams
from dorib_dori.attack import Dori
from full_size.architectures import Architecture, random_pipeline

GUIDANCE_SCALE = 7.5
STEPS = 4
"""Sampling steps, and optimisation steps of a search: enough to time, as all cost the same."""
ROUNDS = 3

Work = Callable[[], int]
"""Does what is timed; gives its U-Net items."""


@dataclass(frozen=True)
class Variant:
    """How the model is run."""

    dtype: torch.dtype
    batch_sizes: Sequence[int]
    """Rising."""
    channels_last: bool = False
    compiled: bool = False


def measure(
    architecture: Architecture,
    device: torch.device,
    variant: Variant,
    matrix_rate: float,
    seconds_left: Callable[[], float] = lambda: float("inf"),
) -> Iterator[dict[str, Any]]:
    """One row for each verb and batch size, rising until memory or time runs out.

    `items_per_second` are U-Net items (forward 1, backward 2); `share_of_matrix_rate` is of
    `matrix_rate`, and counts operations that are really done: a backward pass to the embeddings
    takes about as many as a forward pass. `peak_gib` is None where the device has no counter.
    """
    model = _model(architecture, device, variant)
    for verb, prepare in {"generate": _generate, "dori": _dori}.items():
        # Before compiling: the counter does not see into compiled code.
        operations = operations_per_item(prepare(model, 1))
        if variant.compiled:
            model.compile()
        for batch_size in variant.batch_sizes:
            row: dict[str, Any] = {
                "verb": verb,
                "device": name_of(device),
                "dtype": str(variant.dtype).removeprefix("torch."),
                "channels_last": variant.channels_last,
                "compiled": variant.compiled,
                "batch_size": batch_size,
                "matrix_tflops": matrix_rate / 1e12,
                "gflop_per_item": operations / 1e9,
            }
            if seconds_left() <= 0:
                yield row | {"left_out": "no time"}
                break
            try:
                rate, peak = _rate(prepare(model, batch_size), device)
            except torch.OutOfMemoryError:
                yield row | {"left_out": "out of memory"}
                break
            yield row | {
                "items_per_second": rate,
                "share_of_matrix_rate": rate * operations / matrix_rate,
                "peak_gib": peak,
            }


def _model(architecture: Architecture, device: torch.device, variant: Variant) -> DiffusersModel:
    side = architecture.side
    # Weights are drawn where they are needed: on the host that takes longer than all the rest.
    with torch.device(device):
        pipeline = random_pipeline(architecture)
    # As loaded ones, schedulers keep their tables on the host.
    pipeline.register_modules(scheduler=architecture.scheduler(**architecture.schedule))
    sampling = SamplingSettings(height=side, width=side, steps=STEPS, guidance_scale=GUIDANCE_SCALE)
    model = DiffusersModel(pipeline.to(device, variant.dtype), sampling)
    if variant.channels_last:
        model.enable_channels_last()
    return model


def _generate(model: TargetModel, batch_size: int) -> Work:
    embeddings = model.encode_prompt(["a red barn"] * batch_size)
    samples = torch.arange(batch_size)

    def work() -> int:
        generators = [torch.Generator().manual_seed(n) for n in range(batch_size)]
        ledger = Ledger()
        with model.counting(ledger):
            model.sample_latents(embeddings, generators, samples)
        return ledger.work

    return work


def _dori(model: TargetModel, batch_size: int) -> Work:
    side = model.sampling.height
    generator = torch.Generator().manual_seed(0)
    original = torch.rand(3, side, side, generator=generator)
    targets = [Target(f"sample-{n}", n, "a red barn", original) for n in range(batch_size)]
    attack = Dori(DoriParams.model_validate({"pairs": 1}))

    def work() -> int:
        ledger = Ledger()
        with model.counting(ledger):
            for _ in attack.search(model, targets, [STEPS * attack.cost().step], Seeds(0), ledger):
                pass
        return ledger.work

    return work


def _rate(work: Work, device: torch.device) -> tuple[float, float | None]:
    """Items a second, and the peak of allocated memory in GiB."""
    items = work()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = Timer("work()", globals={"work": work}).timeit(ROUNDS).mean
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    return items / seconds, peak


def matrix_rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Floating-point operations a second of a square matrix product: what the device can do."""
    a, b = torch.rand((2, side, side), device=device, dtype=dtype)
    seconds = Timer("a @ b", globals={"a": a, "b": b}).blocked_autorange(min_run_time=1).median
    return 2 * side**3 / seconds


def operations_per_item(work: Work) -> float:
    """Floating-point operations of `work` for each of its U-Net items."""
    counter = FlopCounterMode(display=False)
    with counter:
        items = work()
    return counter.get_total_flops() / items


def name_of(device: torch.device) -> str:
    """The card's, where it is one."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| device | dtype | verb | batch | items / s | share of matrix rate | peak GiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "left_out" in row:
            figures = f"{row['left_out']} | |"
        else:
            peak = "-" if row["peak_gib"] is None else f"{row['peak_gib']:.1f}"
            share = row["share_of_matrix_rate"]
            figures = f"{row['items_per_second']:.2f} | {share:.0%} | {peak}"
        how = ", channels last" if row["channels_last"] else ""
        how += ", compiled" if row["compiled"] else ""
        start = f"{row['device']} | {row['dtype']}{how} | {row['verb']} | {row['batch_size']}"
        lines.append(f"| {start} | {figures} |")
    return "\n".join(lines)
