"""What one run is asked to do: the command line's options or a YAML run file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from dorib.errors import DoribError
from dorib.specs import MethodSpec, spec_of

PRESETS = Path(__file__).parent / "presets"


def _rising(budgets: tuple[int, ...]) -> tuple[int, ...]:
    if budgets[0] <= 0 or any(a >= b for a, b in pairwise(budgets)):
        raise ValueError("budgets must be positive and strictly rising")
    return budgets


Budgets = Annotated[tuple[int, ...], Field(min_length=1), AfterValidator(_rising)]
"""Search work per sample, in U-Net items, strictly rising."""


class RunConfig(BaseModel):
    """One `dorib run`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str = "tiny"
    """A registered suite's name, or a suite folder."""
    split: str = "test"
    mitigation: tuple[MethodSpec, ...] = ()
    attack: tuple[MethodSpec, ...] = ()
    metric: tuple[MethodSpec, ...] = (MethodSpec(name="sscd"), MethodSpec(name="clip"))
    full: bool = False
    """The suite's full profile; otherwise its quick one."""
    seeds: int | None = Field(default=None, gt=0, le=1000)
    """Evaluation images per sample and trigger, in place of the profile's."""
    limit: int | None = Field(default=None, gt=0)
    """At most so many memorized samples, and as many controls."""
    budgets: Budgets | None = None
    """In place of the profile's."""
    offline: bool = False
    """Open no connection, and fail before any work if something is not on this machine."""
    device: str = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    batch_size: int | None = Field(default=None, gt=0)
    gradient_checkpointing: bool = False
    """Compute activations twice rather than keep them for the backward pass."""
    vae_slicing: bool = False
    """Decode images one by one."""
    offload: bool = False
    """Keep text encoders and autoencoder in the host's memory while they are not at work."""
    compile: bool = False
    """Compile the U-Net."""
    out: Path = Path("dorib-out")
    root_seed: int = Field(default=0, ge=0)

    @field_validator("mitigation", "attack", "metric", mode="before")
    @classmethod
    def _specs(cls, value: Any) -> Any:
        if isinstance(value, str | dict):
            value = [value]
        if not isinstance(value, list | tuple):
            raise ValueError("give a method, or a list of methods")
        return tuple(spec_of(item) for item in value)

    @field_validator("budgets", mode="before")
    @classmethod
    def _one_budget(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value


def read_config(path: Path, overrides: dict[str, Any]) -> RunConfig:
    """Read a YAML run file, or a preset by its name; `overrides` (from the command line) win.

    Raises:
        DoribError: the file is not readable, or an entry is wrong.
    """
    preset = PRESETS / f"{path}.yaml"
    if preset.parent == PRESETS and preset.exists() and not path.exists():
        path = preset
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = ", ".join(sorted(file.stem for file in PRESETS.glob("*.yaml")))
        raise DoribError(f"{path}: no such run file; name another, or a preset: {names}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DoribError(f"{path}: not readable as YAML ({reason}); mend the file") from error
    if not isinstance(content, dict):
        raise DoribError(f"{path}: holds no mapping; write for example 'mitigation: [wanda]'")
    # By themselves first, so that the file is not blamed for an option.
    make_config(overrides)
    return make_config({**content, **overrides}, str(path))


def make_config(content: dict[str, Any], where: str = "command line") -> RunConfig:
    """Check options.

    Raises:
        DoribError: the first wrong one, by name.
    """
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        known = ", ".join(RunConfig.model_fields)
        raise DoribError(f"{where}: {first_problem(error)}; mend it (options: {known})") from error


def first_problem(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, in one line."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"]) or "content"
    message = _IN_PLAIN_WORDS.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    return f"{field!r}: {message}"


_IN_PLAIN_WORDS = {"extra_forbidden": "there is no such name", "missing": "is missing"}
