"""The GPU benchmark, small and on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from full_size.throughput import as_table


def test_the_benchmark_measures_both_verbs_at_each_batch_size(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
    out = tmp_path / "performance.json"
    command = [
        *(sys.executable, str(script), "--out", str(out), "--narrow", "--device", "cpu"),
        *("--dtype", "float32", "--batch-size", "1", "2", "--matrix-side", "256"),
    ]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = json.loads(out.read_text())
    assert [(row["verb"], row["batch_size"]) for row in rows] == [
        ("generate", 1),
        ("generate", 2),
        ("dori", 1),
        ("dori", 2),
    ]
    assert all(row["items_per_second"] > 0 for row in rows)
    assert all(0 < row["share_of_matrix_rate"] < 1.5 for row in rows)
    # The narrow U-Net's layers, not the full one's.
    assert all(0 < row["gflop_per_item"] < 10 for row in rows)
    assert as_table(rows) in printed


def test_a_batch_beyond_memory_has_a_row() -> None:
    row = {"device": "one", "dtype": "float32", "verb": "dori", "batch_size": 8}
    table = as_table([row | {"out_of_memory": True}])
    assert table.splitlines()[-1] == "| one | float32 | dori | 8 | out of memory | | |"
