"""U-Net items a second, against batch size, and what share of the device's matrix rate that is."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from dorib import Ledger, Seeds, Target, TargetModel
from dorib.contracts.suite_view import SamplingSettings
from dorib.target.model import DiffusersModel
from dorib_dori import DoriParams
from dorib_dori.attack import Dori
from full_size.architectures import SD14, Architecture, narrowed, random_pipeline

GUIDANCE_SCALE = 7.5
STEPS = 4
"""Sampling steps, and optimisation steps of a search: enough to time, as all cost the same."""
ROUNDS = 3
MATRIX_SIDE = 8192


def measure(
    architecture: Architecture,
    device: torch.device,
    dtype: torch.dtype,
    batch_sizes: Sequence[int],
    matrix_side: int = MATRIX_SIDE,
) -> Iterator[dict[str, Any]]:
    """One row for each verb and batch size, rising until memory runs out.

    `items_per_second` are U-Net items (forward 1, backward 2); `share_of_matrix_rate` is in [0, 1]
    or None where the device has no counter, `peak_gib` likewise.
    """
    side = architecture.side
    pipeline = random_pipeline(architecture).to(device, dtype)
    sampling = SamplingSettings(height=side, width=side, steps=STEPS, guidance_scale=GUIDANCE_SCALE)
    model = DiffusersModel(pipeline, sampling)
    matrix_rate = _matrix_rate(device, dtype, matrix_side)
    operations = _operations_per_item(model)
    for verb, prepare in {"generate": _generate, "dori": _dori}.items():
        for batch_size in batch_sizes:
            row: dict[str, Any] = {
                "verb": verb,
                "device": _name(device),
                "dtype": str(dtype).removeprefix("torch."),
                "batch_size": batch_size,
                "matrix_tflops": matrix_rate / 1e12,
                "gflop_per_item": operations / 1e9,
            }
            try:
                rate, peak = _rate(prepare(model, batch_size), device)
            except torch.OutOfMemoryError:
                yield row | {"out_of_memory": True}
                break
            yield row | {
                "items_per_second": rate,
                "share_of_matrix_rate": rate * operations / matrix_rate,
                "peak_gib": peak,
            }


def _generate(model: TargetModel, batch_size: int) -> Callable[[], int]:
    embeddings = model.encode_prompt(["a red barn"] * batch_size)
    samples = torch.arange(batch_size)

    def work() -> int:
        generators = [torch.Generator().manual_seed(n) for n in range(batch_size)]
        ledger = Ledger()
        with model.counting(ledger):
            model.sample_latents(embeddings, generators, samples)
        return ledger.work

    return work


def _dori(model: TargetModel, batch_size: int) -> Callable[[], int]:
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


def _rate(work: Callable[[], int], device: torch.device) -> tuple[float, float | None]:
    """Items a second, and the peak of allocated memory in GiB."""
    items = work()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = Timer("work()", globals={"work": work}).timeit(ROUNDS).mean
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    return items / seconds, peak


def _matrix_rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Floating-point operations a second of a square matrix product: what the device can do."""
    a, b = torch.rand((2, side, side), device=device, dtype=dtype)
    seconds = Timer("a @ b", globals={"a": a, "b": b}).blocked_autorange(min_run_time=1).median
    return 2 * side**3 / seconds


def _operations_per_item(model: TargetModel) -> float:
    """Of one item forward; a backward pass to the embeddings counts as two."""
    latents = torch.randn((1, *model.latent_shape)).to(model.device, model.dtype)
    timestep = torch.zeros(1, dtype=torch.int64, device=model.device)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.predict(latents, timestep, model.encode_prompt([""]), torch.zeros(1).long())
    return float(counter.get_total_flops())


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| device | dtype | verb | batch | items / s | share of matrix rate | peak GiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.get("out_of_memory"):
            figures = "out of memory | |"
        else:
            peak = "-" if row["peak_gib"] is None else f"{row['peak_gib']:.1f}"
            share = row["share_of_matrix_rate"]
            figures = f"{row['items_per_second']:.2f} | {share:.0%} | {peak}"
        start = f"{row['device']} | {row['dtype']} | {row['verb']} | {row['batch_size']}"
        lines.append(f"| {start} | {figures} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write; with a device that runs out of memory, up to the largest batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--device", default=None, help="default: what there is")
    parser.add_argument("--dtype", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--batch-size", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--matrix-side", type=int, default=MATRIX_SIDE)
    parser.add_argument("--narrow", action="store_true", help="an eighth of every width")
    asked = parser.parse_args(arguments)
    found = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    device = torch.device(asked.device) if asked.device else found
    architecture = narrowed(SD14) if asked.narrow else SD14
    rows: list[dict[str, Any]] = []
    for dtype in asked.dtype:
        format_ = getattr(torch, dtype)
        for row in measure(architecture, device, format_, asked.batch_size, asked.matrix_side):
            rows.append(row)
            asked.out.write_text(json.dumps(rows, indent=2) + "\n")
            print(as_table([row]).splitlines()[-1], flush=True)
    print(as_table(rows))


if __name__ == "__main__":
    main()
