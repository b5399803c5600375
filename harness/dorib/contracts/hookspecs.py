"""What a plugin can implement: seven hooks, each handed the function that takes a registration.

The host hands in `register`, so a hook's signature stays as it is while what can be registered
grows. A plugin module states the contract it was written for as `dorib_contract = 2` and must be
cheap to import: a registration names the class by its import path, and the class is loaded when
it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from dorib.contracts.registration import Register, RegisterCommand, RegisterSuite

CONTRACT_VERSION = 2
WHAT_CHANGED = 'docs/plugins.md, section "From contract 1 to 2",'

hookspec = pluggy.HookspecMarker("dorib")
hookimpl = pluggy.HookimplMarker("dorib")


@hookspec
def register_mitigations(register: Register) -> None:
    """Call `register(name, target, params=..., summary=...)` for each `Mitigation`."""


@hookspec
def register_attacks(register: Register) -> None:
    """Call `register(name, target, params=..., summary=...)` for each `Attack`."""


@hookspec
def register_metrics(register: Register) -> None:
    """Call `register(name, target, params=..., summary=...)` for each `Metric`."""


@hookspec
def register_rules(register: Register) -> None:
    """Call `register(name, target, params=..., summary=...)` for each `Rule`."""


@hookspec
def register_probes(register: Register) -> None:
    """Call `register(name, target, params=..., summary=...)` for each `Probe`."""


@hookspec
def register_suites(register: RegisterSuite) -> None:
    """Call `register(name, folder, summary=...)` for each suite folder."""


@hookspec
def register_commands(register: RegisterCommand) -> None:
    """Call `register(name, target, summary=...)` for each command that `dorib` is to have."""
