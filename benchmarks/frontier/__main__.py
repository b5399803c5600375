"""`python -m frontier BOARD --out FOLDER`: what fine-tuning costs, and how far it holds.

BOARD is what a run left in which one mitigation stands at several settings, as that of run.yaml
beside this file:

    dorib run --config benchmarks/frontier/run.yaml --out BOARD

Each setting is a point: the utility of the kind of prompts that suffers most, and the widest gap
under the attacks that were run. The figure and its numbers (frontier.json) go to FOLDER, and the
numbers to the terminal as a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import dorib
from dorib import DoribError, require_figures, write_text
from frontier.points import Point, Spread, families, points_of

METHOD = "adversarial-finetune"
UTILITY_ASKED = 0.9


def frontier(board: Path, folder: Path, method: str = METHOD) -> list[Point]:
    """Read the points of `method` off a board, and draw them.

    Raises:
        DoribError: there is no board, or none of its rows is a point.
    """
    require_figures("frontier")
    points = points_of(dorib.open(board).entries, method)
    if not points:
        raise DoribError(
            f"{board}: no row of {method} with a learning rate, a searching attack and a utility"
        )
    folder.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps([point.model_dump(mode="json") for point in points], indent=1)
    write_text(folder / "frontier.json", numbers + "\n")
    from frontier.figure import draw

    draw(families(points), UTILITY_ASKED, folder)
    return points


def table(points: list[Point]) -> str:
    """Markdown."""
    lines = [
        "| setting | learning rate | from prompts | widest gap | under | utility | of |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, family in families(points).items():
        for point in family:
            cells = (
                name,
                f"{point.learning_rate:g}",
                f"{point.from_prompts:.2f}",
                _spread(point.gap),
                f"`{point.attack}`",
                _spread(point.utility),
                point.kind or "all",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(spread: Spread) -> str:
    if spread.low is None or spread.high is None:
        return f"{spread.value:.2f}"
    return f"{spread.value:.2f} ({spread.low:.2f} to {spread.high:.2f})"


def main(arguments: list[str] | None = None) -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m frontier",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("board", type=Path, help="a run's folder")
    parser.add_argument("--method", default=METHOD, help="the mitigation that is drawn")
    parser.add_argument("--out", type=Path, required=True, help="folder of figure and numbers")
    asked = parser.parse_args(arguments)
    try:
        points = frontier(asked.board, asked.out, asked.method)
    except DoribError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
    print(table(points))


if __name__ == "__main__":
    main()
