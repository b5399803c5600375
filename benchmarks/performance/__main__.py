"""Write the figures of docs/performance.md.

`python -m performance RECORD` from `benchmarks` takes what `pytest --benchmark-json RECORD` wrote,
keeps what is worth keeping in `performance/results.json`, and writes the page; without RECORD it
writes the page from what is kept. Figures of a GPU are those of `performance/gpu.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from performance.figures import results_of, with_figures

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "performance.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(prog="python -m performance", description=__doc__)
    parser.add_argument("record", type=Path, nargs="?", help="what pytest-benchmark wrote")
    parser.add_argument("--kept", type=Path, default=FOLDER, help="folder of results.json")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    asked = parser.parse_args(arguments)
    kept = asked.kept / "results.json"
    if asked.record:
        results = results_of(_read(asked.record))
        kept.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    gpu = asked.kept / "gpu.json"
    page = asked.page.read_text(encoding="utf-8")
    made = with_figures(page, _read(kept), _read(gpu) if gpu.exists() else None)
    asked.page.write_text(made, encoding="utf-8")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
