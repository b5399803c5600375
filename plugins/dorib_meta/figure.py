"""The figure: a panel for each attack, its AUC over the budgets, and one for the probes."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib.figure import Figure

from dorib import GREY, PALETTE, TEXT_WIDTH, house_style, save_figure
from dorib_meta.findings import Against, AttackTrust, Findings, Parted, ProbeTrust

BLUE, VERMILION, *_ = PALETTE
COLOURS: dict[Against, str] = {"oracle": BLUE, "controls": VERMILION}
ASIDE: dict[Against, float] = {"oracle": -0.06, "controls": 0.06}
"""So that the intervals of both can be seen."""
LABELS: dict[Against, str] = {
    "oracle": "against the model trained without",
    "controls": "against images never seen",
}
COLUMNS = 4
PANEL_HEIGHT = 1.45
MARGINS = 1.0
LABEL_WIDTH = 26
FEWEST = 3
"""Places along a panel's axis, so that a single point stands no wider than several."""


def draw(findings: Findings, metric: str, path: Path) -> tuple[Path, ...]:
    """Write the figure as SVG and as PNG: `path` with the suffixes."""
    shown = [t for t in findings.attacks if t.metric == metric and t.duplication is None]
    probes = [trust for trust in findings.probes if trust.duplication is None]
    files = tuple(path.with_suffix(suffix) for suffix in (".svg", ".png"))
    with house_style():
        figure = _figure(shown, probes, metric)
        for file in files:
            save_figure(figure, file)
    return files


def _figure(shown: Sequence[AttackTrust], probes: Sequence[ProbeTrust], metric: str) -> Figure:
    attacks = list(dict.fromkeys(trust.attack for trust in shown))
    panels = len(attacks) + bool(probes)
    columns = min(COLUMNS, panels)
    rows = ceil(panels / columns)
    figure = Figure(figsize=(TEXT_WIDTH, PANEL_HEIGHT * rows + MARGINS), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    places = [axes for row in grid for axes in row]
    for axes, attack in zip(places, attacks, strict=False):
        _attack(axes, attack, [trust for trust in shown if trust.attack == attack])
    if probes:
        _probes(places[len(attacks)], probes)
    for axes in places[panels:]:
        axes.set_axis_off()
    for row in grid:
        row[0].set_ylabel("AUC")
    figure.supxlabel("search work allowed for a sample, U-Net items", size=8)
    drawn = [axes.get_legend_handles_labels() for axes in places]
    handles = {label: handle for pair in drawn for handle, label in zip(*pair, strict=True)}
    title = f"{metric}; bars: 95 % over photographs"
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper center", ncols=2, title=title
    )
    return figure


def _attack(axes: Any, attack: str, trusts: Sequence[AttackTrust]) -> None:
    _frame(axes, attack)
    budgets = [trust.budget for trust in trusts]
    axes.set_xticks(range(len(budgets)), [str(b) if b else "no search" for b in budgets])
    _points(axes, [{"oracle": t.oracle, "controls": t.controls} for t in trusts], joined=True)


def _probes(axes: Any, probes: Sequence[ProbeTrust]) -> None:
    _frame(axes, "probes")
    names = [fill(probe.probe, LABEL_WIDTH) for probe in probes]
    axes.set_xticks(range(len(probes)), names, rotation=30, ha="right")
    _points(axes, [{"oracle": p.oracle, "controls": p.controls} for p in probes], joined=False)


def _frame(axes: Any, title: str) -> None:
    axes.set_title(fill(title, LABEL_WIDTH))
    axes.set_ylim(0, 1.03)
    axes.axhline(0.5, color=GREY, linewidth=0.6, linestyle=":")


def _points(axes: Any, points: Sequence[dict[Against, Parted | None]], *, joined: bool) -> None:
    for against, colour in COLOURS.items():
        known = [(x, p[against]) for x, p in enumerate(points)]
        there = [(x + ASIDE[against], parted) for x, parted in known if parted is not None]
        if not there:
            continue
        axes.errorbar(
            [x for x, _ in there],
            [parted.auc for _, parted in there],
            yerr=[
                [parted.auc - parted.low for _, parted in there],
                [parted.high - parted.auc for _, parted in there],
            ],
            color=colour,
            marker="o",
            linestyle="-" if joined else "none",
            elinewidth=0.8,
            label=LABELS[against],
            clip_on=False,
        )
    axes.set_xlim(-0.5, max(len(points), FEWEST) - 0.5)
