"""Figure 3: overlap of picks. Imports matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dorib import GREY, TEXT_WIDTH
from dorib_locality.findings import Analysis, MethodPair, MethodPicks, RandomOverlap
from dorib_locality.layer_names import short
from dorib_locality.plots import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, strips

ROW = 1.9
"""Inches: the height of a row of panels."""


def weights(analysis: Analysis) -> Figure:
    """A panel for each method; for each pair of methods where their picks lie, and the overlap."""
    assert analysis.weights is not None
    painters: list[Callable[[Any, str], None]] = []
    for method in analysis.weights.methods:
        painters.append(partial(_method, method))
    for pair in analysis.weights.pairs:
        if pair.blocks:
            painters += [partial(_shares, pair), partial(_overlap, pair)]
    columns = min(2, len(painters))
    rows = -(-len(painters) // columns)
    size = TEXT_WIDTH * (columns + 1) / 3, ROW * rows + 0.3
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, (paint, axes) in enumerate(zip(painters, panels, strict=False)):
        paint(axes, chr(ord("a") + number))
    for spare in panels[len(painters) :]:
        spare.set_visible(False)
    line = Line2D([], [], color=GREY, linestyle="--", linewidth=1)
    figure.legend([line], ["random picks (band: 95 %)"], loc="outside lower center")
    return figure


def _method(picks: MethodPicks, axes: Any, letter: str) -> None:
    groups = [
        picks.one_trigger_other_noise,
        picks.triggers_of_one_image,
        picks.trigger_and_prompt,
        picks.triggers_of_different_images,
        picks.prompts_of_different_images,
    ]
    strips(axes, groups, (GREEN, VERMILION, PURPLE, BLUE, SKY))
    _random(axes, picks.random)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("intersection over union")
    axes.set_title(f"{letter}  {picks.mitigation.partition(':')[0]}, {picks.unit}")


def _shares(pair: MethodPair, axes: Any, letter: str) -> None:
    places = np.arange(len(pair.blocks))
    for name, shares, colour, shift in (
        (pair.first, pair.first_shares, BLUE, -0.2),
        (pair.second, pair.second_shares, ORANGE, 0.2),
    ):
        if shares is not None:
            axes.bar(places + shift, shares, 0.4, color=colour, label=_name(name, pair))
    axes.set_xticks(places, [short(block) for block in pair.blocks], rotation=90)
    axes.set_ylabel("share of the picks")
    axes.set_ylim(top=1.25 * axes.get_ylim()[1])
    axes.set_title(f"{letter}  where the picks lie, by block")
    axes.legend(loc="upper center", ncols=2)


def _name(label: str, pair: MethodPair) -> str:
    """Without parameters, unless they are all that tells the two apart."""
    first, second = (name.partition(":")[0] for name in (pair.first, pair.second))
    return label if first == second else label.partition(":")[0]


def _overlap(pair: MethodPair, axes: Any, letter: str) -> None:
    strips(axes, [pair.one_trigger, pair.triggers_of_different_images], (VERMILION, BLUE))
    _random(axes, pair.random)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("overlap of the shares")
    axes.set_title(f"{letter}  agreement of the two on where")


def _random(axes: Any, random: RandomOverlap | None) -> None:
    if random is None:
        return
    axes.axvspan(random.low, random.high, color=GREY, alpha=0.3, linewidth=0)
    axes.axvline(random.mean, color=GREY, linestyle="--", linewidth=1)
