"""What one `dorib locality` is asked to do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from dorib import MethodSpec, RunConfig

LARGEST_COUNT = 1000


class LocalityConfig(RunConfig):
    """One `dorib locality`: a run's options, and how triggers are compared."""

    attack: tuple[MethodSpec, ...] = (MethodSpec(name="dori", params={"start": "random"}),)
    """The one attack that finds the triggers."""
    metric: tuple[MethodSpec, ...] = (MethodSpec(name="sscd"),)
    limit: int | None = Field(default=6, gt=0)
    """At most so many memorized samples."""
    starts: int = Field(default=8, ge=2, le=LARGEST_COUNT)
    """Searches for each image; search i is that of `dorib run` with `root_seed` + i."""
    noises: int = Field(default=2, ge=2, le=LARGEST_COUNT)
    """Starting latents that activations are averaged over, the same for all embeddings."""
    timesteps: int = Field(default=5, ge=1, le=LARGEST_COUNT)
    """Sampling steps at which activations are compared, spread evenly over all of them."""
    reduction: Literal["mean", "mean_absolute"] = "mean"
    """How a layer's activations become one vector: their mean over the tokens, or the mean of
    their absolute values, as NeMo's statistic."""

    @field_validator("attack")
    @classmethod
    def _one_attack(cls, value: tuple[MethodSpec, ...]) -> tuple[MethodSpec, ...]:
        if len(value) != 1 or value[0].name == "all":
            raise ValueError("give one attack; triggers of several are compared run by run")
        return value
