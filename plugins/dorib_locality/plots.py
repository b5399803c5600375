"""Figures 1 and 2: embedding space, activations. Imports matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dorib import GREY, PALETTE, TEXT_WIDTH
from dorib_locality.findings import Analysis, Group, LayerDiscrepancy
from dorib_locality.geometry import Measure
from dorib_locality.layer_names import short

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = PALETTE
MARKERS = "osD^vP"
LABEL_WIDTH = 24
FEW, MOST_POINTS = 60, 400


def embedding_space(analysis: Analysis) -> Figure:
    """The projection, and the pairwise distances."""
    figure = Figure(figsize=(TEXT_WIDTH, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    _projection(left, analysis)
    spread = analysis.embedding_space.spreads[0]
    groups = [
        spread.triggers_of_one_image,
        spread.triggers_of_different_images,
        spread.starting_points_of_one_image,
        spread.random_prompts,
        spread.from_start_to_trigger,
    ]
    strips(right, groups, (VERMILION, BLUE, ORANGE, GREY, GREEN))
    right.set_xlabel("L2 distance")
    right.set_xlim(left=0)
    right.set_title("b  pairwise distances (bar: mean)")
    return figure


def _projection(axes: Any, analysis: Analysis) -> None:
    points = analysis.embedding_space.points
    for kind, marker, size in (("random prompt", ".", 10), ("starting point", "x", 9)):
        of_kind = [point for point in points if point.kind == kind]
        if of_kind:
            axes.scatter(
                [p.x for p in of_kind], [p.y for p in of_kind], s=size, marker=marker, c="#B0B0B0",
                linewidths=0.6, label=f"{kind}s",
            )  # fmt: skip
    samples = list(dict.fromkeys(p.sample for p in points if p.kind == "trigger"))
    for number, sample in enumerate(samples):
        colour = PALETTE[number % len(PALETTE)]
        face = colour if number < len(PALETTE) else "none"
        marker = MARKERS[number % len(MARKERS)]
        own = [p for p in points if p.sample == sample and p.kind == "trigger"]
        axes.scatter(
            [p.x for p in own], [p.y for p in own], s=16, marker=marker, facecolors=face,
            edgecolors=colour, linewidths=0.8,
            label="triggers, by image" if number == 0 else None,
        )  # fmt: skip
        prompt = [p for p in points if p.sample == sample and p.kind == "prompt"]
        axes.scatter(
            [p.x for p in prompt], [p.y for p in prompt], s=45, marker="*", c=colour,
            edgecolors="black", linewidths=0.5,
            label="the images' prompts" if number == 0 else None,
        )  # fmt: skip
    first, second = analysis.embedding_space.explained
    axes.set_xlabel(f"first axis ({first:.0%} of the variance)")
    axes.set_ylabel(f"second axis ({second:.0%})")
    axes.set_title("a  projection on principal axes")
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.18), ncols=2, handletextpad=0.1)


def strips(axes: Any, groups: Sequence[Group], colours: Sequence[str]) -> None:
    """Each group a row of points, the longest at random thinned, with its mean."""
    there = [(group, colour) for group, colour in zip(groups, colours, strict=True) if group.n]
    rng = np.random.default_rng(0)
    for row, (group, colour) in enumerate(there):
        values = np.asarray(group.values)
        few = len(values) <= FEW
        if len(values) > MOST_POINTS:
            values = rng.choice(values, MOST_POINTS, replace=False)
        axes.scatter(
            values, row + rng.uniform(-0.28, 0.28, len(values)), s=9 if few else 4, c=colour,
            alpha=0.8 if few else 0.45, linewidths=0, rasterized=not few,
        )  # fmt: skip
        axes.plot([group.mean] * 2, [row - 0.38, row + 0.38], c="black", linewidth=1.5)
    # No break within the brackets.
    numbers = [f"(n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{group.n})" for group, _ in there]
    labels = [
        fill(f"{group.label} {number}", LABEL_WIDTH)
        for (group, _), number in zip(there, numbers, strict=True)
    ]
    axes.set_yticks(range(len(there)), labels)
    axes.set_ylim(len(there) - 0.4, -0.6)


def activations(analysis: Analysis) -> Figure:
    """Discrepancies by layer and timestep: a row of panels for each measure."""
    figure = Figure(figsize=(TEXT_WIDTH, 5.4), layout="constrained")
    panels = figure.subplots(len(UNITS), 3, width_ratios=(1.1, 1, 1.3))
    for (measure, unit), (value, steps, ratio), letters in zip(
        UNITS.items(), panels, ("abc", "def"), strict=True
    ):
        rows = [row for row in analysis.activations.layers if row.measure == measure]
        feed_forward = [row for row in rows if row.kind == "feed_forward"]
        _value_layers(value, [row for row in rows if row.kind == "value"], unit, letters[0])
        _over_timesteps(steps, feed_forward, letters[1])
        _ratio(figure, ratio, feed_forward, letters[2])
    figure.legend(
        *steps.get_legend_handles_labels(), loc="outside lower center", ncols=4, handlelength=1.8
    )
    return figure


UNITS: dict[Measure, str] = {"cosine": "1 \N{MINUS SIGN} cosine", "l2": "L2 distance"}
"""How a discrepancy is measured: as this project does, and as the paper does."""
SERIES = (
    ("triggers_of_one_image", "triggers of one image", VERMILION, "o", "-"),
    ("triggers_of_different_images", "triggers of different images", BLUE, "s", "--"),
    ("random_prompts", "random prompts", GREY, "^", ":"),
    ("one_trigger_other_noise", "one trigger, other noise", GREEN, "D", "-."),
)


def _value_layers(axes: Any, rows: Sequence[LayerDiscrepancy], unit: str, letter: str) -> None:
    for name, label, colour, marker, line in SERIES[:3]:
        values = [_number(getattr(row, name)) for row in rows]
        axes.plot(range(len(rows)), values, line, c=colour, marker=marker, label=label)
    axes.set_xticks(range(len(rows)), [short(row.layer) for row in rows], rotation=90)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(f"discrepancy ({unit})")
    axes.set_title(f"{letter}  value layers")


def _over_timesteps(axes: Any, rows: Sequence[LayerDiscrepancy], letter: str) -> None:
    timesteps = list(dict.fromkeys(row.timestep for row in rows))
    for name, label, colour, marker, line in SERIES:
        means = [
            np.mean([_number(getattr(r, name)) for r in rows if r.timestep == t]) for t in timesteps
        ]
        axes.plot(range(len(timesteps)), means, line, c=colour, marker=marker, label=label)
    axes.set_xticks(range(len(timesteps)), [str(t) for t in timesteps])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("timestep")
    axes.set_title(f"{letter}  feed-forward layers, mean")


def _ratio(figure: Figure, axes: Any, rows: Sequence[LayerDiscrepancy], letter: str) -> None:
    timesteps = list(dict.fromkeys(row.timestep for row in rows))
    layers = list(dict.fromkeys(row.layer for row in rows))
    table = np.full((len(layers), len(timesteps)), np.nan)
    for row in rows:
        one, different = row.triggers_of_one_image, row.triggers_of_different_images
        if one is not None and different:
            table[layers.index(row.layer), timesteps.index(row.timestep)] = one / different
    image = axes.imshow(
        table, cmap="RdBu", vmin=0, vmax=2, aspect="auto", interpolation="nearest"
    )  # fmt: skip
    axes.set_xticks(range(len(timesteps)), [str(t) for t in timesteps])
    axes.set_yticks(range(len(layers)), [short(layer) for layer in layers])
    axes.set_xlabel("timestep")
    axes.set_title(f"{letter}  one image / different images")
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, ticks=[0, 0.5, 1, 1.5, 2], extend="max", pad=0.02)
    bar.outline.set_linewidth(0.4)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
