"""What each mitigation is tuned over, as `grids.yaml` says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from dorib import DoribError, MethodChoice, MethodSpec, StrictModel, checked
from dorib.reading import read_yaml

GRIDS = Path(__file__).with_name("grids.yaml")
MOST_POINTS = 5

Setting = dict[str, Any]
"""Parameters by name."""


class Grid(StrictModel):
    """One mitigation, and the settings that it is tried at."""

    source: str
    """Where the settings are from."""
    method: MethodChoice
    """What holds at all of them."""
    points: tuple[Setting, ...] = Field(min_length=1, max_length=MOST_POINTS)
    """The weakest first."""
    until_tuned: Setting
    """The one that stands in the preset as long as none was chosen."""
    known: str = "not tuned"
    """What the preset says of that one."""

    @model_validator(mode="after")
    def _one_of_its_own(self) -> Self:
        if self.until_tuned not in self.points:
            raise ValueError("until_tuned is none of the points")
        return self

    @property
    def specs(self) -> tuple[MethodSpec, ...]:
        """The mitigation at each of the points."""
        return tuple(self.at(point) for point in self.points)

    def at(self, point: Setting) -> MethodSpec:
        """The mitigation at one point."""
        return MethodSpec(name=self.method.name, params=self.method.params | point)


class Wrapper(StrictModel):
    """A mitigation that is put on another one, at the setting that was chosen for that."""

    method: MethodChoice
    over: str
    """The grid of the other one."""
    parameter: str
    """The one that names it."""

    def around(self, inner: MethodSpec) -> MethodSpec:
        """The wrapper on `inner`."""
        return MethodSpec(
            name=self.method.name, params={**self.method.params, self.parameter: inner}
        )


class Grids(StrictModel):
    """All of them."""

    grids: dict[str, Grid] = Field(min_length=1)
    """By the name that the tuning knows a mitigation by, cheap ones first."""
    wrappers: dict[str, Wrapper] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _wrappers_have_something_to_wrap(self) -> Self:
        for name, wrapper in self.wrappers.items():
            if wrapper.over not in self.grids:
                raise ValueError(f"wrappers: {name} is over {wrapper.over}, which has no grid")
        return self

    def named(self, names: list[str]) -> dict[str, Grid]:
        """The grids of `names`, in the file's order; all where none is named.

        Raises:
            DoribError: there is no such grid.
        """
        for name in names:
            if name not in self.grids:
                raise DoribError(f"no grid {name}; choose from: {', '.join(self.grids)}")
        return {name: grid for name, grid in self.grids.items() if not names or name in names}


def read_grids(path: Path = GRIDS) -> Grids:
    """The grids in a file.

    Raises:
        DoribError: it is missing, or says something else.
    """
    content = read_yaml(path, "no such file of grids")
    if not isinstance(content, dict):
        raise DoribError(f"{path}: holds no mapping")
    return checked(Grids, content, str(path))
