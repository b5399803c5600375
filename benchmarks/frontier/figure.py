"""The figure: a line for each family of settings, from its lowest learning rate to its highest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from dorib import GREY, PALETTE, TEXT_WIDTH, house_style, save_figure
from frontier.points import Point, Spread

HEIGHT = 4.2
MARKERS = "osD^vP"


def draw(found: Mapping[str, Sequence[Point]], utility_asked: float, folder: Path) -> None:
    """Write `frontier.svg` and `.png` into `folder`."""
    with house_style():
        figure = _figure(found, utility_asked)
        for ending in ("svg", "png"):
            save_figure(figure, folder / f"frontier.{ending}")


def _figure(found: Mapping[str, Sequence[Point]], utility_asked: float) -> Figure:
    figure = Figure(figsize=(TEXT_WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    for place, (name, points) in enumerate(found.items()):
        colour = PALETTE[place % len(PALETTE)]
        x = [point.utility.value for point in points]
        y = [point.gap.value for point in points]
        axes.errorbar(
            x,
            y,
            xerr=_arms([point.utility for point in points]),
            yerr=_arms([point.gap for point in points]),
            fmt="none",
            ecolor=colour,
            elinewidth=0.5,
            alpha=0.35,
        )
        marker = MARKERS[place % len(MARKERS)]
        axes.plot(x, y, color=colour, marker=marker, label=name)
        for point in points:
            axes.annotate(
                f"{point.learning_rate:g}",
                (point.utility.value, point.gap.value),
                textcoords="offset points",
                xytext=(4, 3),
                fontsize=6,
                color=colour,
            )
    axes.axvline(utility_asked, color=GREY, linestyle="--", linewidth=0.6)
    axes.axhline(0, color=GREY, linestyle="--", linewidth=0.6)
    axes.set_xlabel("utility of the kind of prompts that suffers most")
    axes.set_ylabel("widest gap to a model that never had the images")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=1)
    return figure


def _arms(spreads: Sequence[Spread]) -> list[list[float]]:
    """Lengths of error bars to the left and to the right; none where no interval is known."""
    return [
        [0.0 if s.low is None else s.value - s.low for s in spreads],
        [0.0 if s.high is None else s.high - s.value for s in spreads],
    ]
