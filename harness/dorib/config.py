"""What one run is asked to do: the command line's options or a YAML run file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from dorib.contracts.params import Budgets
from dorib.contracts.specs import MethodSpec, spec_of
from dorib.errors import DoribError
from dorib.ranking.entry_fields import ProfileName
from dorib.reading import read_yaml
from dorib.suites.manifest import Manifest, Profile
from dorib.suites.suite import Suite
from dorib.validation import checked
from dorib.verbs.settings import Settings

PRESETS = Path(__file__).parent / "presets"


class RunConfig(Settings):
    """One `dorib run`."""

    suite: str = "tiny"
    """A registered suite's name, or a suite folder."""
    mitigation: tuple[MethodSpec, ...] = ()
    attack: tuple[MethodSpec, ...] = ()
    metric: tuple[MethodSpec, ...] = (MethodSpec(name="sscd"), MethodSpec(name="clip"))
    probe: tuple[MethodSpec, ...] = ()
    full: bool = False
    """The suite's full profile; otherwise its quick one."""
    seeds: int | None = Field(default=None, gt=0, le=1000)
    """Evaluation images per sample and trigger, in place of the profile's."""
    budgets: Budgets | None = None
    """In place of the profile's."""
    offline: bool = False
    """Open no connection, and fail before any work if something is not on this machine."""
    out: Path = Path("dorib-out")
    workers: int | None = Field(default=None, gt=0, le=10_000)
    """Processes that share the run's work, by Ray; None: the run's own alone."""
    ray: str | None = None
    """A running Ray cluster's address, or "auto" for the one of this machine; None: one is started
    here where there are to be workers."""

    @field_validator("suite", mode="before")
    @classmethod
    def _reference(cls, value: Any) -> Any:
        if isinstance(value, Suite):
            return value.reference
        return str(value) if isinstance(value, Path) else value

    @field_validator("mitigation", "attack", "metric", "probe", mode="before")
    @classmethod
    def _specs(cls, value: Any) -> Any:
        if isinstance(value, str | dict | MethodSpec):
            value = [value]
        if not isinstance(value, list | tuple):
            raise ValueError("give a method, or a list of methods")
        return tuple(spec_of(item) for item in value)

    @field_validator("budgets", mode="before")
    @classmethod
    def _one_budget(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value

    def profile(self, manifest: Manifest) -> Profile:
        """The suite's profile that was asked for, with what was asked for in its place."""
        profile = manifest.full if self.full else manifest.quick
        asked = {"seeds": self.seeds, "budgets": self.budgets}
        return profile.model_copy(update={n: v for n, v in asked.items() if v is not None})

    @property
    def profile_name(self) -> ProfileName:
        """What the run is called: "custom" where anything of the profile was changed."""
        if self.seeds is not None or self.budgets is not None or self.limit is not None:
            return "custom"
        return "full" if self.full else "quick"


def run_config(
    options: dict[str, Any], file: Path | None = None, where: str = "command line"
) -> RunConfig:
    """The options of a run, and below them those of a run file or preset, where one is given.

    Raises:
        DoribError: as `read_config` and `make_config`; `where` is who gave the options.
    """
    return make_config(options, where) if file is None else read_config(file, options, where)


def read_config(path: Path, overrides: dict[str, Any], where: str = "command line") -> RunConfig:
    """Read a YAML run file, or a preset by its name; `overrides`, which come from `where`, win.

    Raises:
        DoribError: the file is not readable, or an entry is wrong.
    """
    presets = {file.stem: file for file in sorted(PRESETS.glob("*.yaml"))}
    if str(path) in presets and not path.exists():
        path = presets[str(path)]
    content = read_yaml(path, f"no such run file; name another, or a preset: {', '.join(presets)}")
    if not isinstance(content, dict):
        raise DoribError(f"{path}: holds no mapping; write for example 'mitigation: [wanda]'")
    # By themselves first, so that the file is not blamed for an option.
    make_config(overrides, where)
    return make_config({**content, **overrides}, str(path))


def make_config(content: dict[str, Any], where: str = "command line") -> RunConfig:
    """Check options.

    Raises:
        DoribError: the first wrong one, by name.
    """
    return checked(RunConfig, content, where, names="options")
