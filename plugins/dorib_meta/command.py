"""`dorib meta`: from folders to a table, a figure and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dorib import place_option

if TYPE_CHECKING:
    from dorib_meta.findings import AttackTrust, Fall, Findings, Parted

Row = tuple[str, ...]


def meta(
    folders: Annotated[
        list[Path], typer.Argument(help="What `dorib run --out` left: runs of one suite.")
    ],
    out: Annotated[
        Path | None, place_option(help="Where to write (default: `meta` in the first folder).")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="What table and figure show (default: sscd_original); meta.json has all."
        ),
    ] = None,
    holds: Annotated[
        list[str] | None,
        typer.Option(
            help="A mitigation known to leave the images in the model, besides none and "
            "prompt-filter; repeat it for several."
        ),
    ] = None,
    lacks: Annotated[
        list[str] | None,
        typer.Option(help="One whose model is known to have none of them, besides the oracle."),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="Name or folder, for duplication levels (default: the runs' own)."),
    ] = None,
) -> None:
    """Ask which attack, by which metric and at which budget, can be trusted; likewise of probes.

    Of some models of a run it is known whether they hold the memorized images: the unmitigated one
    and that under a prompt filter do, the oracle does not. How well does what an attack draws tell
    these apart? No model is run.
    """
    from dorib import results_console, say
    from dorib_meta.study import shown_metric, study

    made = study(
        folders,
        out or folders[0] / "meta",
        holds=holds or (),
        lacks=lacks or (),
        metric=metric,
        suite=suite,
    )
    found = made.findings
    say(
        results_console(),
        "",
        f"hold the images: {', '.join(found.holding)}; do not: {', '.join(found.lacking) or '-'}",
        "",
        *_aligned([*_attack_rows(found, shown_metric(found, metric))]),
        "",
        *(_aligned([*_probe_rows(found)]) if found.probes else ()),
        *([""] if found.probes else ()),
        "AUC (95 %): the chance that an image which is held looks more so than one which is not",
        "degree: that of two held ones the one drawn more often in training looks more so",
        "falls beyond: against what a larger budget has less; apart: the intervals do not meet",
        "",
        f"figures  {', '.join(str(path) for path in made.figures)}",
        f"numbers  {made.json}",
    )


def _attack_rows(found: Findings, metric: str) -> Iterator[Row]:
    columns = "level", "oracle", "controls", "degree"
    yield f"attack, by {metric}", "budget", *columns, "falls beyond"
    for trust in found.attacks:
        if trust.metric == metric:
            whole = trust.duplication is None
            here = [fall for fall in found.falls if whole and _is_at(fall, trust)]
            yield (
                trust.attack,
                str(trust.budget),
                _level(trust.duplication),
                _shown(trust.oracle),
                _shown(trust.controls),
                _degree(trust.degree),
                ", ".join(fall.against + (" (apart)" if fall.apart else "") for fall in here),
            )


def _probe_rows(found: Findings) -> Iterator[Row]:
    yield "probe", "level", "oracle", "controls", "degree"
    for trust in found.probes:
        level = _level(trust.duplication)
        parted = _shown(trust.oracle), _shown(trust.controls)
        yield trust.probe, level, *parted, _degree(trust.degree)


def _is_at(fall: Fall, trust: AttackTrust) -> bool:
    place = trust.attack, trust.metric, trust.budget
    return (fall.attack, fall.metric, fall.falls_beyond) == place


def _level(duplication: int | None) -> str:
    return "all" if duplication is None else f"{duplication} x"


def _shown(parted: Parted | None) -> str:
    return "-" if parted is None else f"{parted.auc:.2f} ({parted.low:.2f}-{parted.high:.2f})"


def _degree(degree: float | None) -> str:
    return "-" if degree is None else f"{degree:.2f}"


def _aligned(rows: Sequence[Row]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
