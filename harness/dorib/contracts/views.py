"""What methods are handed of a sample: as an attack or a defender sees it, and as a metric does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dorib.reprs import own_fields

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from dorib.contracts.embeddings import Embeddings
    from dorib.contracts.triggers import Trigger

ORIGINAL_IMAGE = "original image"
"""In what a method `knows`: without it, a target has no original."""


@dataclass(frozen=True)
class Target:
    """One sample as an attack or a defender sees it."""

    sample: str
    index: int
    """This target's sample index: hand it to the target model with each of its items."""
    caption: str
    original: Tensor
    """`[3, height, width]`, float32, in [0, 1], at the model's resolution; without any element for
    an attack or a probe whose `knows` leaves the original image out."""
    other_captions: Sequence[str] = ()
    """Captions of other images, for searches that start elsewhere."""
    embeddings: Embeddings | None = None
    """What stands in for the caption's embedding: a trigger, without a batch axis."""
    found: Mapping[int, Trigger] = field(default_factory=dict)
    """By budget, what the replayed attack found on the unmitigated model."""
    others: Sequence[OtherSample] = ()
    """The other samples of the split, for an attack that `sees_others`: memorized ones and
    controls, whatever the run's limits, and none of the same cluster."""

    __repr__ = own_fields


@dataclass(frozen=True)
class OtherSample:
    """A sample that is not attacked: its caption, and its image to be read."""

    caption: str
    memorized: bool
    """Whether the target model was trained on it; else it is a control."""
    read: Callable[[], Tensor]
    """Gives the image, `[3, height, width]`, float32, in [0, 1], at the model's resolution; it is
    read from disk at each call."""

    __repr__ = own_fields


@dataclass(frozen=True)
class GeneralPair:
    """A picture of no sample and its caption, as training data have them."""

    caption: str
    read: Callable[[], Tensor]
    """Gives the image, `[3, height, width]`, float32, in [0, 1], at the model's resolution. It is
    read from disk at each call, since a suite may have more of them than memory holds.

    Raises:
        DoribError: the file is no picture.
    """

    __repr__ = own_fields


@dataclass(frozen=True)
class DefenderView:
    """What a defender may know: the memorized samples, general captions and general pictures.

    Never controls, evaluation prompts or evaluation seeds.
    """

    memorized: Sequence[Target]
    general_captions: Sequence[str]
    general_pairs: Sequence[GeneralPair] = field(default=(), kw_only=True)
    """Those of the general captions whose image the suite has: there may be none."""
    oracle: Path | None = None
    """Weights retrained without the memorized samples: the `retrain` reference's alone to use."""
    scratch: Path | None = None
    """A folder for the checkpoints of a long fit: a fit that was killed finds there what it left.
    It is removed once the edit is stored; None where nothing can be kept."""

    __repr__ = own_fields


@dataclass(frozen=True)
class Generation:
    """All evaluation images of one sample under one trigger, with what they are judged by."""

    sample: str
    caption: str
    seeds: tuple[int, ...]
    images: Tensor
    """`[seeds, 3, height, width]`, float32 in [0, 1]: read back from the stored PNG."""
    originals: Tensor
    """`[originals, 3, height, width]`; no rows where the suite has no original."""
    twins: Tensor | None = None
    """The unmitigated model's images from the sample's own prompt and the same seeds."""
    other_caption: str | None = None
    """For utility prompts: the caption of another prompt (a shuffled pairing)."""
    captions_of_kind: tuple[str, ...] = ()
    """For utility prompts: all other captions of the prompt's kind, where the suite tells kinds
    apart."""

    __repr__ = own_fields
