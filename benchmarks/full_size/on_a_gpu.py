"""What `benchmarks/gpu.py` measures, in the time that it is given."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from dorib.config import make_config
from dorib.host.registry import discover
from dorib.runner import plan, run
from full_size.architectures import SD14, Architecture, narrowed
from full_size.suite import save_suite
from full_size.throughput import Variant, as_table, matrix_rate, measure, name_of

MINUTES = 7.5
SECONDS_TO_COMPILE = 150
"""Compiling the U-Net forward and backward takes minutes, and cannot be stopped."""
MATRIX_SIDE = 8192


def variants(batch_sizes: Sequence[int]) -> list[Variant]:
    """bfloat16 at every batch size, the rest at fewer, what takes longest last."""
    some, one = batch_sizes[::2], batch_sizes[len(batch_sizes) // 2 :][:1]
    return [
        Variant(torch.bfloat16, batch_sizes),
        Variant(torch.float32, some),
        Variant(torch.bfloat16, one, channels_last=True),
        Variant(torch.bfloat16, one, compiled=True),
    ]


def estimate(
    architecture: Architecture, device: torch.device, seeds: int, budget: int
) -> dict[str, float]:
    """What a plan says that a small run takes, and what it then takes, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        suite = save_suite(Path(folder) / "suite", architecture)
        config = make_config(
            {
                "suite": str(suite),
                "out": f"{folder}/out",
                "device": str(device),
                "metric": ["sscd"],
                "attack": ["dori:pairs=1"],
                "seeds": seeds,
                "budgets": [budget],
                "batch_size": seeds,
            }
        )
        planned = plan(config, discover())
        assert planned.seconds is not None
        begin = time.perf_counter()
        run(config, discover())
        return {
            "planned_seconds": planned.seconds,
            "seconds": time.perf_counter() - begin,
            "items": planned.total.items,
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write, after each figure, so that whatever ends it leaves what there is."""
    parser = argparse.ArgumentParser(prog="gpu.py", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--device", default=None, help="default: what there is")
    parser.add_argument("--batch-size", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--matrix-side", type=int, default=MATRIX_SIDE)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="begin nothing after these")
    parser.add_argument("--no-compile", action="store_true", help="leave compiling out")
    parser.add_argument("--narrow", action="store_true", help="an eighth of every width")
    asked = parser.parse_args(arguments)
    found = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    device = torch.device(asked.device) if asked.device else found
    architecture = narrowed(SD14) if asked.narrow else SD14
    begin = time.perf_counter()

    def seconds_left() -> float:
        return float(60 * asked.minutes) - (time.perf_counter() - begin)

    results: dict[str, Any] = {
        "device": name_of(device),
        "model": architecture.name,
        "torch": torch.__version__,
        "rows": [],
        "estimate": None,
    }

    def write() -> None:
        results["minutes"] = round((time.perf_counter() - begin) / 60, 2)
        asked.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")

    def take(variant: Variant) -> None:
        rate = matrix_rate(device, variant.dtype, asked.matrix_side)
        for row in measure(architecture, device, variant, rate, _reserved(variant, seconds_left)):
            results["rows"].append(row)
            write()
            print(as_table([row]).splitlines()[-1], flush=True)

    *plain, compiled = variants(asked.batch_size)
    for variant in plain:
        take(variant)
    if seconds_left() > 0:
        results["estimate"] = estimate(
            architecture, device, seeds=4, budget=12 if asked.narrow else 96
        )
        write()
        print(json.dumps(results["estimate"]), flush=True)
    if not asked.no_compile:
        take(compiled)
    print(as_table(results["rows"]))


def _reserved(variant: Variant, seconds_left: Callable[[], float]) -> Callable[[], float]:
    """Time left for a measurement to begin in."""
    return lambda: seconds_left() - (SECONDS_TO_COMPILE if variant.compiled else 0)
