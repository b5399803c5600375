"""Whether a picture is a copy, as a defender can tell: without the descriptor that is reported.

Coarse copies of two images are correlated, each colour channel centred first. That finds copies
that keep their place, whatever their brightness, contrast, blur or fine detail; a mirrored or a
shifted copy escapes. The threshold comes from pairs of different originals, which are no copies of
each other.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dorib.errors import DoribError

COARSE = 16
"""Side of the coarse copies, in pixels."""
QUANTILE = 0.95
"""Share of pairs of different originals that lie below the threshold."""


def correlation(images: Tensor, others: Tensor) -> Tensor:
    """Correlation of each image with each other one, `[images, others]` in [-1, 1].

    Both are `[B, 3, height, width]` in [0, 1]; a flat image correlates with nothing (0).
    """
    return _coarse(images) @ _coarse(others).T


def copy_threshold(originals: Tensor, method: str) -> float:
    """The 95th percentile of the correlation between different `originals`.

    `originals` are `[images, 3, height, width]` in [0, 1]; `method` is what a message names.

    Raises:
        DoribError: there are no two of them.
    """
    if len(originals) < 2:
        raise DoribError(
            f"{method}: one memorized image alone calibrates no threshold; set "
            "similarity_threshold, for example to 0.5"
        )
    above = torch.triu_indices(len(originals), len(originals), offset=1)
    pairs = correlation(originals, originals)[above[0], above[1]]
    return float(pairs.quantile(QUANTILE))


def _coarse(images: Tensor) -> Tensor:
    small = functional.adaptive_avg_pool2d(images.float().cpu(), COARSE)
    centred = small - small.mean(dim=(2, 3), keepdim=True)
    return functional.normalize(centred.flatten(1), dim=1)
