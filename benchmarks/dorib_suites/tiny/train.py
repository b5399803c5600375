"""The recipe: `python -m dorib_suites.tiny.train` makes all weights from nothing, resumably.

Stages: tokenizer, autoencoder, CLIP, descriptor; a scene U-Net, and the same grown; the decoder's
second training and the judge, which learn from what the scene model makes; then forks of it with
equal steps: one memorizes, the others (oracles) see general data in the memorized samples' place.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.console import Console

from dorib.cli.progress import reporter_for
from dorib.errors import DoribError
from dorib.reporting import Reporter
from dorib.store.files import write_json
from dorib_suites.tiny.components import train_components
from dorib_suites.tiny.forks import FORKS, train_forks
from dorib_suites.tiny.judges import Judges
from dorib_suites.tiny.refine import drawn_pools, refine, train_scene_models
from dorib_suites.tiny.reuse import unpack_components
from dorib_suites.tiny.training import outcomes

SHIPPED = Path(__file__).parent / "suite"


def make_suite(
    suite: Path, work: Path, device: torch.device, reporter: Reporter, shorten: int = 1
) -> None:
    """Train everything in `work` and write the suite's folder, with its figures and model card."""
    # They build on this module.
    from dorib_suites.tiny.accept import measure_all
    from dorib_suites.tiny.build import write_suite
    from dorib_suites.tiny.card import TRAININGS, write_card
    from dorib_suites.tiny.oracles import BUDGETS, CURVES, survival_curves

    parts = train_components(work, device, reporter, shorten)
    first, grown = train_scene_models(parts, work, device, reporter, shorten)
    parts = refine(parts, first, work, device, reporter, shorten)
    models = train_forks(parts, grown, work, reporter, shorten=shorten)
    pool = drawn_pools(parts, first, work, reporter, shorten)["calibration"]
    judges = Judges.calibrated(parts.descriptor, pool)
    write_json(work / "calibration.json", judges.calibrations)
    write_suite(suite, parts, models["memorizing"], models["oracle"], judges)
    write_json(suite / TRAININGS, outcomes(work))
    budgets = BUDGETS if shorten == 1 else BUDGETS[:1]
    write_json(suite / CURVES, survival_curves(suite, work, FORKS[1:], budgets))
    figures = measure_all(suite, work / "acceptance")
    write_card(suite, figures, suite)


def main() -> None:
    """Train everything and write the suite folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    cache = Path.home() / ".cache" / "dorib"
    parser.add_argument("--work", type=Path, help="checkpoints")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--suite", type=Path, help="where to write; by default the embedded suite itself"
    )
    parser.add_argument(
        "--reuse", action="store_true", help="go on from what the suite and stages hold"
    )
    parser.add_argument(
        "--shorten",
        type=int,
        default=1,
        metavar="N",
        help="an N-th of all steps and scenes: all in minutes, and a suite that is of no use",
    )
    options = parser.parse_args()
    if options.shorten < 1:
        parser.error("--shorten takes 1 or more")
    rehearsal = options.shorten > 1
    work = options.work or cache / ("tiny-rehearsal" if rehearsal else "tiny-training")
    # A rehearsal must not overwrite the weights that ship.
    suite = options.suite or (work / "suite" if rehearsal else SHIPPED)
    try:
        if options.reuse:
            unpack_components(SHIPPED, work)
        with reporter_for(Console(highlight=False)) as reporter:
            make_suite(suite, work, torch.device(options.device), reporter, options.shorten)
    except DoribError as error:
        parser.exit(2, f"error: {error}\n")
    print(f"suite written to {suite}; pictures in {work / 'acceptance'}")


if __name__ == "__main__":
    main()
