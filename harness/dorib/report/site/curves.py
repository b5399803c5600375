"""The figure of a board: rates over budgets, a panel for each attack. Imports matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from dorib.host.configure import NONE
from dorib.ranking.entries import Entry
from dorib.ranking.rates import Rate
from dorib.report.figures import GREY, PALETTE, TEXT_WIDTH

COLUMNS = 3
PANEL_HEIGHT, LEGEND_LINE = 1.9, 0.16
"""Inches."""
MARKERS = "osD^vP"
CONTROLS = "controls, unmitigated"
CONTROLS_LOOK = {"color": GREY, "linestyle": "--"}


Look = dict[str, str]
"""Keywords of matplotlib's `plot`."""


def rates_over_budgets(entries: Sequence[Entry]) -> Figure | None:
    """`memorization_rate@k` over the budget; None where nothing was searched.

    The reference lines are drawn in black and grey: the unmitigated model, its controls, the
    oracle.
    """
    searched = [entry for entry in entries if entry.searches and entry.curve]
    attacks = list(dict.fromkeys(entry.attack.label for entry in searched))
    if not attacks:
        return None
    looks, names = _looks(searched), _names(searched)
    columns = min(COLUMNS, len(attacks))
    rows = math.ceil(len(attacks) / columns)
    legend = (len(looks) + 1) * LEGEND_LINE
    size = TEXT_WIDTH * max(columns, 2) / COLUMNS, rows * PANEL_HEIGHT + legend
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    shown: dict[str, Any] = {}
    for axes, attack in zip(grid.flat, attacks, strict=False):
        for entry in (e for e in searched if e.attack.label == attack):
            label = entry.mitigation.label
            budgets = [point.budget for point in entry.curve]
            rates = [point.memorized for point in entry.curve]
            (shown[names[label]],) = axes.plot(budgets, _values(rates), **looks[label])
            if label == NONE and entry.controls_rate:
                rates = [point.controls for point in entry.curve]
                (shown[CONTROLS],) = axes.plot(budgets, _values(rates), **CONTROLS_LOOK)
        axes.set(title=attack, ylim=(-0.03, 1.03), xlabel="budget, U-Net items")
        axes.set_xlim(left=0)
    for axes in grid[:, 0]:
        axes.set_ylabel("memorization rate")
    for axes in grid.flat[len(attacks) :]:
        axes.set_axis_off()
    figure.legend(shown.values(), shown.keys(), loc="outside lower left")
    return figure


def _values(rates: Sequence[Rate | None]) -> list[float]:
    return [rate.rate if rate else math.nan for rate in rates]


def _looks(entries: Sequence[Entry]) -> dict[str, Look]:
    """How each mitigation is drawn, by label: the same in all panels."""
    looks: dict[str, Look] = {}
    for entry in entries:
        if entry.reference_line:
            style = "-" if entry.mitigation.name == NONE else ":"
            looks[entry.mitigation.label] = {"color": "black", "linestyle": style}
    others = dict.fromkeys(e.mitigation.label for e in entries if not e.reference_line)
    for number, label in enumerate(others):
        colour = PALETTE[number % len(PALETTE)]
        looks[label] = {
            "color": colour,
            "marker": MARKERS[number % len(MARKERS)],
            "markerfacecolor": colour if number < len(PALETTE) else "white",
        }
    return looks


def _names(entries: Sequence[Entry]) -> dict[str, str]:
    """By label, a mitigation's name and those parameters in which its namesakes differ."""
    methods = {entry.mitigation.label: entry.mitigation for entry in entries}
    names = {}
    for label, method in methods.items():
        namesakes = [other.params for other in methods.values() if other.name == method.name]
        differing = [
            f"{name}={value}"
            for name, value in method.params.items()
            if any(params.get(name) != value for params in namesakes)
        ]
        names[label] = " ".join([method.name, *differing])
    return names
