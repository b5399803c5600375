"""`python -m dorib_suites.tiny.oracles`: how much of a search's success needs no memory at all.

Dori from another caption runs on the model that memorized and on every oracle, which differ by
their seed alone: survival curves of memorized samples, controls and oracles, and their spread.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_file

from dorib.config import make_config
from dorib.host.registry import discover
from dorib.ranking.entries import Entry
from dorib.ranking.leaderboard import LEADERBOARD_FILE
from dorib.ranking.rates import WorkToBreak
from dorib.runner import run
from dorib.store.files import write_json
from dorib_suites.tiny import unet as unets
from dorib_suites.tiny.growth import grown

ATTACK = "dori:start=other"
CURVES = "oracles.json"
"""File in the suite's folder."""
BUDGETS = (24, 240, 600, 1200, 2400)
"""U-Net items: 1, 10, 25, 50 and 100 steps of a search by the paper's settings."""


def survival_curves(
    suite: Path, work: Path, oracles: tuple[str, ...], budgets: tuple[int, ...] = BUDGETS
) -> dict[str, Any]:
    """Share of test samples not broken within each budget, by line.

    `work` holds the oracles' trainings; what was computed is kept there as well. The model's own
    lines come from the first run; they are the same in all.
    """
    curves: dict[str, Any] = {}
    for name in oracles:
        entries = _attack(_with_oracle(suite, work, name), work / "survival", budgets)
        model, oracle = entries["none"], entries["retrain"]
        curves.setdefault("memorized", _line(model.work_to_break))
        curves.setdefault("controls", _line(model.work_to_break_controls))
        curves[f"{name}, memorized samples"] = _line(oracle.work_to_break)
        curves[f"{name}, controls"] = _line(oracle.work_to_break_controls)
    return {"attack": ATTACK, "budgets": list(budgets), "survival": curves}


def _attack(suite: Path, out: Path, budgets: tuple[int, ...]) -> dict[str, Entry]:
    config = make_config(
        {
            "suite": str(suite),
            "attack": [ATTACK],
            "metric": ["sscd"],
            "full": True,
            "budgets": budgets,
            "out": str(out),
        }
    )
    # A board is of one suite, and each oracle's is another; what they share is the store.
    (out / LEADERBOARD_FILE).unlink(missing_ok=True)
    result = run(config, discover())
    return {e.mitigation.name: e for e in result.entries if e.attack.label == ATTACK}


def _with_oracle(suite: Path, work: Path, name: str) -> Path:
    """A copy of `suite` in which the oracle is the one of this name."""
    copy = work / "suites" / name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(suite, copy)
    unet = grown(unets.build())
    unet.load_state_dict(load_file(work / f"{name}-{list(unets.FORK_CYCLES)[-1]}.safetensors"))
    unet.half().save_pretrained(copy / "oracle", safe_serialization=True)
    manifest = yaml.safe_load((copy / "suite.yaml").read_text())
    (copy / "suite.yaml").write_text(yaml.safe_dump(manifest | {"oracle": "oracle"}))
    return copy


def _line(broken: WorkToBreak | None) -> list[float]:
    assert broken is not None
    return [round(share, 4) for share in broken.survival]


def main() -> None:
    """Measure, and write `oracles.json` beside the suite's other figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="the trainings' folder")
    parser.add_argument("--suite", type=Path, default=Path(__file__).parent / "suite")
    parser.add_argument("oracles", nargs="+", help="their names in the recipe")
    options = parser.parse_args()
    curves = survival_curves(options.suite, options.work, tuple(options.oracles))
    write_json(options.suite / CURVES, curves)
    print(json.dumps(curves, indent=2))


if __name__ == "__main__":
    main()
