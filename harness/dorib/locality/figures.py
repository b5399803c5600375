"""The figures, from the report alone: SVG for papers, PNG for pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dorib.errors import DoribError
from dorib.locality.report import Analysis, Report

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    # The same numbers give the same file.
    "svg.hashsalt": "dorib",
}
DOTS_PER_INCH = 300


def require_matplotlib() -> None:
    """See that figures can be drawn, before any work.

    Raises:
        DoribError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise DoribError(
            'locality: matplotlib is missing, which draws the figures; pip install "dorib[figures]"'
        ) from error


def draw(report: Report, folder: Path) -> dict[str, str]:
    """Write `<name>.svg` and `<name>.png` for each figure; gives the file stems by name.

    The analysis of the successful triggers is drawn where there is one, else that of all.
    """
    import matplotlib as mpl

    from dorib.locality import plots, plots_weights

    shown = report.shown
    painters: dict[str, Callable[[Analysis], Any]] = {
        "embedding-space": plots.embedding_space,
        "activations": plots.activations,
    }
    if shown.weights is not None:
        painters["weights"] = plots_weights.weights
    with mpl.rc_context(STYLE):
        for name, paint in painters.items():
            figure = paint(shown)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            figure.savefig(folder / f"{name}.png", dpi=DOTS_PER_INCH)
    return {name: name for name in painters}
