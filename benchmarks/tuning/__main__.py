"""`python -m tuning --out FOLDER [METHOD...]`: the setting at which each mitigation is published.

Every mitigation is run at each point of its grid on the suite's dev split, without an attack, and
one point is chosen by a rule. Everything goes through one run folder, FOLDER/run: what was
computed is found there again, so that a tuning that was stopped goes on. Beside it are
choices.json, page.md and preset.yaml, written anew after each mitigation. `--publish` puts them
where the project has them: benchmarks/tuning, docs and the preset `tiny`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dorib import DoribError, Results, progress_console, reporter_for, write_text
from dorib.reporting import Reporter
from tuning.choosing import RULE, choose
from tuning.grids import GRIDS, Grid, Grids, read_grids
from tuning.numbers import NUMBERS, Choices, Tuned, read_choices, write_choices
from tuning.running import labels_of, run_points
from tuning.written import page, preset

PAGE = "page.md"
PRESET = "preset.yaml"
PROJECT = Path(__file__).parents[2]
PUBLISHED = {
    NUMBERS: PROJECT / "benchmarks" / "tuning" / NUMBERS,
    PAGE: PROJECT / "docs" / "tuned-settings.md",
    PRESET: PROJECT / "harness" / "dorib" / "presets" / "tiny.yaml",
}
"""Where the project has what a tuning writes."""


def tune(grids: Grids, names: list[str], folder: Path, options: dict[str, Any]) -> Choices | None:
    """Run the grids of `names` (all where none is named), and choose; what is known stays.

    Raises:
        DoribError: a grid is wrong, a run is refused, or the folder holds what was tuned on
            something else.
    """
    asked = grids.named(names)
    for grid in asked.values():
        labels_of(grid.specs)
    folder.mkdir(parents=True, exist_ok=True)
    choices = read_choices(folder)
    with reporter_for(progress_console()) as reporter:
        for name, grid in asked.items():
            run, tuned = _tuned(grid, folder, options, reporter)
            choices = _of_the_same(choices, _empty(run), folder)
            choices = _with(choices, grids, name, tuned)
            write(grids, choices, folder)
    return choices


def write(grids: Grids, choices: Choices | None, folder: Path) -> None:
    """Write what is known: numbers, page and preset."""
    if choices is not None:
        write_choices(folder, choices)
        write_text(folder / PAGE, page(choices))
    write_text(folder / PRESET, preset(grids, choices))


def publish(folder: Path) -> None:
    """Put what a tuning wrote where the project has it.

    Raises:
        DoribError: nothing was tuned in `folder`.
    """
    if read_choices(folder) is None:
        raise DoribError(f"{folder}: nothing was tuned there; leave out --publish")
    for name, path in PUBLISHED.items():
        write_text(path, (folder / name).read_text(encoding="utf-8"))


def _tuned(
    grid: Grid, folder: Path, options: dict[str, Any], reporter: Reporter
) -> tuple[Results, Tuned]:
    run, points = run_points(grid.specs, folder, options, reporter)
    chosen, reason = choose(points)
    return run, Tuned(
        source=grid.source,
        points=tuple(points),
        chosen=chosen.method if chosen else None,
        reason=reason,
    )


def _empty(run: Results) -> Choices:
    """On what `run` was, with nothing chosen."""
    board, entry = run.leaderboard, run.entries[0]
    return Choices(
        suite=board.suite.name,
        version=board.suite.version,
        suite_digest=board.suite.digest,
        split=board.split,
        samples=entry.samples.memorized,
        images=board.k,
        rule=RULE,
    )


def _of_the_same(known: Choices | None, now: Choices, folder: Path) -> Choices:
    """Raises DoribError where the two are not of one suite, split and number of images."""
    if known is None:
        return now
    if known.model_copy(update={"methods": {}}) != now:
        raise DoribError(f"{folder}: holds what was tuned on something else; name another --out")
    return known


def _with(choices: Choices, grids: Grids, name: str, tuned: Tuned) -> Choices:
    """In the order of the grids."""
    both = {**choices.methods, name: tuned}
    order = [known for known in grids.grids if known in both]
    return choices.model_copy(update={"methods": {known: both[known] for known in order}})


def main(arguments: list[str] | None = None) -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tuning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("method", nargs="*", help="grids by name (default: all, cheap ones first)")
    parser.add_argument("--out", type=Path, required=True, help="folder of run and choices")
    parser.add_argument("--grids", type=Path, default=GRIDS, help="in place of those that ship")
    parser.add_argument("--stored", action="store_true", help="run nothing: write what is known")
    parser.add_argument("--publish", action="store_true", help="write it into the project as well")
    parser.add_argument("--suite", default="tiny", help="a registered name or a suite folder")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args(arguments)
    options = {"full": True, **{n: getattr(asked, n) for n in ("suite", "split", "device")}}
    try:
        grids = read_grids(asked.grids)
        if asked.stored:
            asked.out.mkdir(parents=True, exist_ok=True)
            choices = read_choices(asked.out)
            write(grids, choices, asked.out)
        else:
            choices = tune(grids, asked.method, asked.out, options)
        if asked.publish:
            publish(asked.out)
    except DoribError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
    for name, tuned in (choices.methods if choices else {}).items():
        print(f"{name:32} {tuned.chosen or '-':60} {tuned.reason}")
    print(f"numbers, page and preset: {asked.out}")


if __name__ == "__main__":
    main()
