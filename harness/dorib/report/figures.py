"""Figures by matplotlib, in one style: SVG for papers, PNG for pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dorib.errors import DoribError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can tell apart.
BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"
PALETTE = (BLUE, VERMILION, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
"""Of lines or points that belong together, in this order."""
TEXT_WIDTH = 7.0
"""Inches: that of a two-column paper."""
DOTS_PER_INCH = 300
_STYLE: dict[str, Any] = {
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


def require_matplotlib(command: str) -> None:
    """See that `command` can draw its figures, before any work.

    Raises:
        DoribError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise DoribError(
            f"{command}: matplotlib is missing, which draws the figures; "
            'pip install "dorib[figures]"'
        ) from error


@contextmanager
def house_style() -> Iterator[None]:
    """Figures that are made and saved within it look alike."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def save_figure(figure: Figure, path: Path) -> None:
    """Write an SVG or PNG file, as the suffix says."""
    if path.suffix == ".svg":
        figure.savefig(path, metadata={"Date": None})
    else:
        figure.savefig(path, dpi=DOTS_PER_INCH)
