"""The GPU benchmark, small and on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from full_size.architectures import SD14, narrowed
from full_size.on_a_gpu import variants
from full_size.throughput import Variant, as_table, measure

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
SMALL = ("--narrow", "--device", "cpu", "--matrix-side", "256", "--no-compile")


def test_the_benchmark_measures_verbs_formats_and_a_plan(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(SCRIPT), "--out", str(out), *SMALL, "--batch-size", "1", "2"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    results = json.loads(out.read_text())
    rows = results["rows"]
    measured = [
        (row["dtype"], row["channels_last"], row["verb"], row["batch_size"]) for row in rows
    ]
    assert measured == [
        *(("bfloat16", False, verb, size) for verb in ("generate", "dori") for size in (1, 2)),
        *(("float32", False, verb, 1) for verb in ("generate", "dori")),
        *(("bfloat16", True, verb, 2) for verb in ("generate", "dori")),
    ]
    assert all(row["items_per_second"] > 0 for row in rows)
    assert all(row["share_of_matrix_rate"] > 0 for row in rows)
    # The narrow U-Net's layers, not the full one's.
    assert all(0 < row["gflop_per_item"] < 10 for row in rows)
    assert as_table(rows) in printed
    assert results["estimate"]["items"] > 0
    assert results["estimate"]["planned_seconds"] > 0
    assert results["estimate"]["seconds"] > 0


def test_without_time_each_verb_says_so_and_nothing_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(SCRIPT), "--out", str(out), *SMALL, "--minutes", "0"]
    subprocess.run([*command, "--batch-size", "1"], check=True, capture_output=True)
    results = json.loads(out.read_text())
    assert {row["left_out"] for row in results["rows"]} == {"no time"}
    assert results["estimate"] is None


def test_a_search_does_fewer_operations_than_its_items_count() -> None:
    """A backward pass to the embeddings alone counts 2 items, and takes about one forward pass."""
    variant = Variant(torch.float32, [1])
    generate, dori = measure(narrowed(SD14), torch.device("cpu"), variant, matrix_rate=1e12)
    assert 0.5 < dori["gflop_per_item"] / generate["gflop_per_item"] < 0.9


def test_every_format_and_option_has_its_turn_and_compiling_comes_last() -> None:
    *plain, compiled = variants([1, 4, 16])
    assert [one.dtype for one in plain] == [torch.bfloat16, torch.float32, torch.bfloat16]
    assert [one.channels_last for one in plain] == [False, False, True]
    assert compiled.compiled
    assert not any(one.compiled for one in plain)


@pytest.mark.parametrize("reason", ["out of memory", "no time"])
def test_a_batch_that_was_left_out_has_a_row(reason: str) -> None:
    row = {"device": "one", "dtype": "float32", "verb": "dori", "batch_size": 8}
    table = as_table([row | {"channels_last": False, "compiled": True, "left_out": reason}])
    assert table.splitlines()[-1] == f"| one | float32, compiled | dori | 8 | {reason} | | |"
