"""`dorib sscd-agreement`: how far two descriptors agree on the images of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer


def sscd_agreement(
    folder: Annotated[Path, typer.Argument(help="What `dorib run --out` left.")],
) -> None:
    """Compare the verdicts of two descriptors on the images of a run: within each cell, and over
    all attacked mitigations.
    """
    from dorib import DoribError, open, results_console, say
    from dorib_sscd_agreement.cells import BESIDE, agreements, table

    results = open(folder)
    records = [*results.records()]
    references = {row.mitigation.label for row in results.leaderboard.reference_rows}
    found = {beside: agreements(records, beside) for beside in BESIDE}
    if not any(found.values()):
        raise DoribError(
            f"{folder}: no image was judged by a second descriptor; run with --metric "
            "sscd-agreement:..., or on a suite that has a second_descriptor"
        )
    for beside, of_judge in found.items():
        if of_judge:
            judges = {r.judge for r in records if r.metric == beside and r.judge}
            titled = ["", f"second: {beside} of {', '.join(sorted(judges))}", ""]
            say(results_console(), *titled, *_aligned([*table(of_judge, references)]))
    say(
        results_console(),
        "",
        "first, second: share of the images at all budgets that each calls copies",
        "kappa: agreement beyond chance; - where both call all images the same",
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for label, *figures in rows:
        shown = [figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True)]
        yield "  ".join([label.ljust(widths[0]), *shown])
