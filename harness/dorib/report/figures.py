"""Figures by matplotlib, in one style: SVG for papers, PNG for pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dorib.errors import DoribError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can tell apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Blue, vermilion, green, purple, orange and sky blue: of what belongs together, in this order."""
GREY = "#7F7F7F"
"""Of what the coloured is read against."""
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


def require_figures(command: str) -> None:
    """See that `command` can draw its figures and write its pages, before any work.

    Raises:
        DoribError: a library of the extra `figures` is not installed.
    """
    for library, use in {"matplotlib": "draws the figures", "jinja2": "writes the pages"}.items():
        try:
            import_module(library)
        except ImportError as error:
            raise DoribError(
                f'{command}: {library} is missing, which {use}; pip install "dorib[figures]"'
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
