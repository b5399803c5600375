"""What a run is told that its verbs act on, whatever is scored."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dorib.suites.manifest import LARGEST_BATCH
from dorib.validation import StrictModel


class Settings(StrictModel):
    """Which samples, from which randomness, and how the model is run."""

    split: str = "test"
    limit: int | None = Field(default=None, gt=0)
    """At most so many memorized samples, and as many controls."""
    root_seed: int = Field(default=0, ge=0)
    """What all randomness is derived from."""
    device: str = "auto"
    """A torch device; "auto" is the accelerator, where there is one, else the CPU."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The model's number format; "auto" is bfloat16 on CUDA, float32 anywhere else."""
    batch_size: int | None = Field(default=None, gt=0, le=LARGEST_BATCH)
    """Items handled together, in place of the suite's."""
    gradient_checkpointing: bool = False
    """Compute activations twice rather than keep them for the backward pass."""
    vae_slicing: bool = False
    """Decode images one by one."""
    offload: bool = False
    """Keep text encoders and autoencoder in the host's memory while they are not at work."""
    channels_last: bool = False
    """Lay out the U-Net's convolutions with the channels last."""
    compile: bool = False
    """Compile the U-Net."""
