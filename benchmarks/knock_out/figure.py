"""The figure: what is left without each layer, and without each kind in a window of the steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dorib import GREY, PALETTE, TEXT_WIDTH, house_style, save_figure
from dorib_locality.layer_names import short
from knock_out.layers import KINDS
from knock_out.rows import Row, Table

BLUE, VERMILION = PALETTE[:2]
HEIGHT = 1.9
"""Inches of a row of panels."""


def draw(table: Table, folder: Path) -> None:
    """Write `knock-out.svg` and `.png` into `folder`."""
    with house_style():
        figure = _figure(table)
        for ending in ("svg", "png"):
            save_figure(figure, folder / f"knock-out.{ending}")


def _figure(table: Table) -> Figure:
    whole = next(row for row in table.rows if row.part.kind is None)
    kinds = [kind for kind in KINDS if any(row.part.kind == kind for row in table.rows)]
    figure = Figure(figsize=(TEXT_WIDTH, HEIGHT * len(kinds) + 0.4), layout="constrained")
    panels = figure.subplots(len(kinds), 2, width_ratios=(2, 1), squeeze=False)
    for kind, (by_layer, by_window) in zip(kinds, panels, strict=True):
        rows = [row for row in table.rows if row.part.kind == kind]
        every = [row for row in rows if row.part.layer is None and _length(row) == _length(whole)]
        alone = [row for row in rows if row.part.layer is not None]
        windows = [row for row in rows if row.part.layer is None and row not in every]
        names = [short(row.part.layer) for row in alone if row.part.layer]
        _bars(by_layer, [*alone, *every], [*names, *["all"] * len(every)], whole)
        by_layer.set_title(f"without {kind} layers, at all steps")
        spans = [f"{row.part.first_step}\N{EN DASH}{row.part.last_step}" for row in windows]
        _bars(by_window, windows, spans, whole)
        by_window.set_title(f"no {kind}, by steps")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _length(row: Row) -> int:
    return row.part.last_step - row.part.first_step


def _bars(axes: Any, rows: Sequence[Row], names: Sequence[str], whole: Row) -> None:
    places = np.arange(len(rows))
    for shift, colour, label, values in (
        (-0.2, VERMILION, "memorization rate", [row.memorization_rate for row in rows]),
        (0.2, BLUE, "utility", [max(0.0, row.utility or 0.0) for row in rows]),
    ):
        axes.bar(places + shift, values, 0.4, color=colour, label=label)
    rate = whole.memorization_rate
    axes.axhline(rate, color=GREY, linestyle="--", label="memorization rate of the whole model")
    axes.set_xticks(places, names, rotation=90)
    axes.set_ylim(0, 1.15)
