"""The figures of docs/performance.md: what the benchmarks wrote, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from performance.__main__ import FOLDER, PAGE, main
from performance.figures import BEGIN, END, NOT_MEASURED, results_of, with_figures

EMPTY = f"# A page\n\n{BEGIN}old\n{END}\nThe end.\n"
RECORD: dict[str, Any] = {
    "machine_info": {
        "node": "somebodys-laptop",
        "machine": "x86_64",
        "cpu": {"brand_raw": "A Processor"},
        "processors": 2,
        "threads": 1,
        "load": 0.25,
        "python_version": "3.11.2",
        "torch": "2.9.0",
    },
    "datetime": "2026-01-01T00:00:00",
    "benchmarks": [
        {"name": "test_dori", "extra_info": {"ratio": 1.0234567, "processor_ratio": 1.01}},
        {
            "name": "test_workers",
            "extra_info": {
                "ways": [
                    {
                        "name": "2 workers, 1 thread each",
                        "seconds": 50.0,
                        "processor_seconds": 90.4,
                        "speed_up": 1.8,
                        "efficiency": 0.9,
                    }
                ]
            },
        },
    ],
}


def test_the_page_is_what_its_results_make_of_it(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(PAGE.read_text())
    main(["--page", str(page)])
    assert page.read_text() == PAGE.read_text()
    assert (FOLDER / "results.json").exists()


def test_a_record_becomes_figures_and_names_no_machine(tmp_path: Path) -> None:
    record, page = tmp_path / "record.json", tmp_path / "page.md"
    record.write_text(json.dumps(RECORD))
    page.write_text(EMPTY)
    main([str(record), "--kept", str(tmp_path), "--page", str(page)])
    text = page.read_text()
    assert text.startswith("# A page\n")
    assert text.endswith("\nThe end.\n")
    assert "old" not in text
    assert "passes forward and backward | 1.02; by processor time 1.01 |" in text
    assert "| 2 workers, 1 thread each | 50 s | 90 s | 1.80 | 90% |" in text
    assert f"| NeMo, times as fast as one candidate a forward | {NOT_MEASURED} |" in text
    kept = (tmp_path / "results.json").read_text()
    assert json.loads(kept)["measured"]["dori"]["ratio"] == 1.023
    assert "laptop" not in kept
    assert "2026" not in kept
    # Made again from what is kept, it is the same.
    main(["--kept", str(tmp_path), "--page", str(page)])
    assert page.read_text() == text


def test_figures_of_a_card_stand_below() -> None:
    row = {"device": "a card", "dtype": "bfloat16", "verb": "dori", "batch_size": 8}
    row |= {"channels_last": False, "compiled": False, "left_out": "no time"}
    found = {
        "model": "a model",
        "torch": "2.9.0",
        "rows": [row],
        "estimate": {"planned_seconds": 60.0, "seconds": 65.0},
    }
    text = with_figures(EMPTY, results_of(RECORD), found)
    assert "| a card | bfloat16 | dori | 8 | no time | | |" in text
    assert "was planned to take 60 s and took 65 s" in text


def test_a_page_without_a_place_for_figures_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for figures"):
        with_figures("# A page\n", results_of(RECORD), None)


def test_the_benchmarks_write_such_a_record(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    record = tmp_path / "record.json"
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "benchmarks/speed/test_startup.py"),
            *("--benchmark-json", str(record)),
        ],
        cwd=root,
        # Whether the figure keeps its bar on a busy machine is another matter.
        check=False,
        capture_output=True,
    )
    results = results_of(json.loads(record.read_text()))
    assert results["measured"]["help_with_the_commands_of_plugins"]["seconds"] > 0
    assert results["machine"]["processors"] >= 1
