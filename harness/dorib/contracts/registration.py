"""What a plugin's hooks are handed: the functions that take a registration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from dorib.contracts.cards import MethodCard
from dorib.contracts.params import Params

MethodKind: TypeAlias = Literal["mitigation", "attack", "metric", "rule", "probe"]
PluginKind: TypeAlias = Literal[
    "mitigation", "attack", "metric", "rule", "probe", "suite", "command"
]
BUILT_IN_COMMANDS = (
    "run",
    "audit",
    "report",
    "reproduce",
    "verify",
    "submit",
    "site",
    "compare",
    "export",
    "fetch",
    "plugins",
    "params",
    "new",
    "check",
    "store",
    "suites",
)
"""Names that no plugin can give a command of its own."""


class Register(Protocol):
    """What a hook calls for each method it brings."""

    def __call__(
        self,
        name: str,
        target: str,
        *,
        params: type[Params] = Params,
        summary: str = "",
        card: MethodCard | None = None,
        variants: Mapping[str, MethodCard] | None = None,
    ) -> None:
        """Register `name`, implemented by the class at `target` ("package.module:Class").

        `card` is what leaderboards show of it; `variants` holds cards of its own for settings that
        people know as another method, by the parameter that makes them so: `{"loss=siss": ...}`.
        """


class RegisterSuite(Protocol):
    """What a hook calls for each suite it brings."""

    def __call__(self, name: str, folder: Path, *, summary: str = "") -> None:
        """Register the suite `name`, kept in `folder`."""


class RegisterCommand(Protocol):
    """What a hook calls for each command it adds to `dorib`."""

    def __call__(self, name: str, target: str, *, summary: str = "") -> None:
        """Register `dorib NAME`, the function at `target` ("package.module:function").

        Typer reads the function's signature as that of a command of its own; it is imported when
        the command is run. `summary` is what `dorib --help` says of it. The names of
        `BUILT_IN_COMMANDS` are taken.
        """
