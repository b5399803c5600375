"""What is knocked out in each measurement, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import nn

from dorib import StrictModel
from knock_out.layers import Kind, layers_of


class Part(StrictModel):
    """What one measurement knocks out."""

    kind: Kind | None
    """None: nothing, the model as it is."""
    layer: str | None
    """None: all layers of the kind."""
    first_step: int
    last_step: int
    """Sampling steps, both included; 0 is the noisiest."""


class Row(StrictModel):
    """A part, and what the model does without it."""

    part: Part
    memorization_rate: float
    """Share of memorized samples of which at least one image replicates."""
    memorization_low: float
    memorization_high: float
    """Its exact 95 % interval."""
    replication_rate: float
    """Mean share of images that replicate."""
    utility: float | None
    """Alignment with utility prompts, as a share of the span between shuffled captions (0) and the
    model as it is (1); None where that span cannot be told from 0."""
    utility_low: float | None
    utility_high: float | None
    """Its 95 % interval; None for a few prompts."""


class Table(StrictModel):
    """All rows of one experiment, and what they depend on."""

    settings: dict[str, str | int]
    rows: tuple[Row, ...] = ()


def parts_of(unet: nn.Module, kinds: Sequence[Kind], steps: int, windows: int) -> Iterator[Part]:
    """Nothing; then for each kind all layers at all steps, each layer alone at all steps, and all
    layers in each of `windows` equal windows of the steps."""
    last, windows = steps - 1, min(windows, steps)
    yield Part(kind=None, layer=None, first_step=0, last_step=last)
    for kind in kinds:
        yield Part(kind=kind, layer=None, first_step=0, last_step=last)
        for layer in layers_of(unet, kind):
            yield Part(kind=kind, layer=layer, first_step=0, last_step=last)
        if windows > 1:
            bounds = [steps * window // windows for window in range(windows + 1)]
            for first, after in pairwise(bounds):
                yield Part(kind=kind, layer=None, first_step=first, last_step=after - 1)
