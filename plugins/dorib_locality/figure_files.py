"""The files of the figures: which there are, from the findings alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dorib import house_style, save_figure
from dorib_locality.findings import Analysis, Findings


def draw(findings: Findings, folder: Path) -> dict[str, str]:
    """Write `<name>.svg` and `<name>.png` for each figure; gives the file stems by name.

    The analysis of the successful triggers is drawn where there is one, else that of all.
    """
    from dorib_locality import plots, plots_weights

    shown = findings.shown
    painters: dict[str, Callable[[Analysis], Any]] = {
        "embedding-space": plots.embedding_space,
        "activations": plots.activations,
    }
    if shown.weights is not None:
        painters["weights"] = plots_weights.weights
    with house_style():
        for name, paint in painters.items():
            figure = paint(shown)
            for suffix in (".svg", ".png"):
                save_figure(figure, folder / f"{name}{suffix}")
    return {name: name for name in painters}
