"""Discovery: which methods, suites and commands are there, and what is wrong with the others."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from inspect import isfunction
from pathlib import Path
from types import ModuleType, new_class
from typing import Any

import pluggy
from pydantic import ValidationError

from dorib.contracts import hookspecs
from dorib.contracts.cards import MethodCard
from dorib.contracts.params import Params
from dorib.contracts.registration import BUILT_IN_COMMANDS, PluginKind
from dorib.errors import DoribError
from dorib.host.inline import module_of
from dorib.validation import did_you_mean

GROUP = "dorib"
# Names become parts of file names in the results folder.
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
HOOKS: dict[str, PluginKind] = {
    "register_mitigations": "mitigation",
    "register_attacks": "attack",
    "register_metrics": "metric",
    "register_rules": "rule",
    "register_probes": "probe",
    "register_suites": "suite",
    "register_commands": "command",
}
"""By hook, what it registers."""


@dataclass(frozen=True)
class Registration:
    """One named method, suite or command of one plugin."""

    kind: PluginKind
    name: str
    plugin: str
    target: str
    params: type[Params] = Params
    summary: str = ""
    built_in: bool = False
    """Brought by the distribution `dorib` itself."""
    inline: bool = False
    """Of a file that was named, and of no installed package."""
    card: MethodCard | None = None
    variants: Mapping[str, MethodCard] = field(default_factory=dict)
    """Cards of settings that people know as another method, by `parameter=value`."""

    def load(self) -> Any:
        """Import what `target` names: a method's class, a command's function.

        Raises:
            DoribError: it cannot be imported.
        """
        module, colon, attribute = self.target.partition(":")
        try:
            if not colon:
                raise ImportError("no class is named: write it `module:Class`")
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise DoribError(
                f"plugin {self.plugin}: cannot load {self.target} for {self.kind} "
                f"{self.name!r} ({error}); {self.mend}"
            ) from error

    @property
    def mend(self) -> str:
        """What a user can do about a plugin that is at fault."""
        return "mend the file" if self.inline else "reinstall, mend or remove the plugin"


@dataclass(frozen=True)
class Plugin:
    """A plugin that is used: an entry point's module, or a file."""

    name: str
    contract: int
    hooks: tuple[str, ...]
    """What it implements of `register_mitigations` and the others, without `register_`."""
    version: str
    """Of the distribution that brings it; empty where none does."""
    source: str
    """That distribution's name, or the file."""


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin, or one of its names, that cannot be used, and why."""

    plugin: str
    reason: str


@dataclass
class Registry:
    """Everything that was found, by kind and name."""

    registrations: dict[tuple[PluginKind, str], Registration] = field(default_factory=dict)
    broken: list[BrokenPlugin] = field(default_factory=list)
    plugins: list[Plugin] = field(default_factory=list)
    """Those that the registrations are of, in the order in which they were found."""

    def of_kind(self, kind: PluginKind) -> list[Registration]:
        """The registrations of one kind, sorted by name."""
        return sorted(
            (r for r in self.registrations.values() if r.kind == kind), key=lambda r: r.name
        )

    def get(self, kind: PluginKind, name: str) -> Registration:
        """The registration of `name`.

        Raises:
            DoribError: there is none; lists those there are.
        """
        if (kind, name) not in self.registrations:
            names = [registration.name for registration in self.of_kind(kind)]
            raise DoribError(
                f"unknown {kind} {name!r}{did_you_mean(name, names)}; choose from: "
                f"{', '.join(names) or 'none is installed'} (`dorib plugins {kind}` lists them)"
                f"{self.unused()}"
            )
        return self.registrations[kind, name]

    def unused(self) -> str:
        """Which plugins cannot be used, in words that end a message; empty where all can be."""
        if not self.broken:
            return ""
        names = ", ".join(sorted({broken.plugin for broken in self.broken}))
        return f"; what plugin {names} brings is not used: `dorib plugins` says why"


def discover(found: list[EntryPoint] | None = None, files: Sequence[Path] = ()) -> Registry:
    """Read the entry points of group `dorib`, one plugin at a time, and then `files`.

    A plugin that fails to import, is written for another contract or takes a name already taken
    is listed in `Registry.broken` and disturbs nothing else. `found` replaces the installed entry
    points (for tests).

    Raises:
        DoribError: one of `files` cannot be used: it was asked for by name.
    """
    registry = Registry()
    points = list(entry_points(group=GROUP)) if found is None else found
    # Ours first, so that a third party cannot take a built-in name by sorting before it.
    ours = _built_in()
    for point in sorted(points, key=lambda p: (p.value not in ours, p.name)):
        try:
            module = point.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin does on import
            registry.broken.append(BrokenPlugin(point.name, f"import failed: {error!r}"))
            continue
        found_in = (point.dist.version, point.dist.name) if point.dist else ("", point.value)
        _add_plugin(registry, point.name, module, *found_in, built_in=point.value in ours)
    for file in files:
        _add_plugin(registry, file.stem, module_of(file), "", str(file), inline=True)
        reasons = [one.reason for one in registry.broken if one.plugin == file.stem]
        if reasons:
            raise DoribError(f"{file}: {reasons[0]}")
    return registry


def _built_in() -> set[str]:
    """The modules that dorib's own distribution declares: a package's name tells nothing."""
    try:
        declared = distribution(GROUP).entry_points
    except PackageNotFoundError:
        return set()
    return {point.value for point in declared if point.group == GROUP}


def _add_plugin(
    registry: Registry,
    plugin: str,
    module: ModuleType,
    version: str,
    source: str,
    *,
    built_in: bool = False,
    inline: bool = False,
) -> None:
    contract = getattr(module, "dorib_contract", None)
    flaw = _flaw_of_contract(contract) or _flaw_of_hooks(module)
    if flaw is not None:
        registry.broken.append(BrokenPlugin(plugin, flaw))
        return
    manager = pluggy.PluginManager("dorib")
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module, name=plugin)
        manager.check_pending()
        for kind, hook in _hooks(manager):
            hook(register=_taker(registry, plugin, kind, built_in, inline))
        found = [caller.name for caller in manager.get_hookcallers(module) or ()]
        hooks = tuple(name.removeprefix("register_") for name in HOOKS if name in found)
        registry.plugins.append(Plugin(plugin, hookspecs.CONTRACT_VERSION, hooks, version, source))
    except Exception as error:  # noqa: BLE001 - a plugin may fail in any way; it is listed
        text = " ".join(str(error).split())
        reason = f"registration failed: {type(error).__name__}: {text}"
        registry.broken.append(BrokenPlugin(plugin, reason))


def _flaw_of_contract(contract: object) -> str | None:
    """Why a plugin that is built for `contract` cannot be used; None if it can."""
    ours = hookspecs.CONTRACT_VERSION
    if type(contract) is not int:
        said = "names no contract" if contract is None else f"has dorib_contract = {contract!r}"
        return f"{said}: write `dorib_contract = {ours}` into its module"
    if contract > ours:
        return f"built for contract {contract}, this is contract {ours}: install a newer dorib"
    if contract < ours:
        changed = f"{hookspecs.WHAT_CHANGED} says what changed"
        return f"built for contract {contract}, this is contract {ours}: {changed}"
    return None


def _flaw_of_hooks(module: ModuleType) -> str | None:
    """What keeps a hook from being called: it is misspelt, or not marked as one."""
    functions = {name: value for name, value in vars(module).items() if isfunction(value)}
    for name, function in functions.items():
        marked = hasattr(function, "dorib_impl")
        if marked and name not in HOOKS:
            meant = did_you_mean(name, HOOKS)
            return f"there is no hook {name}{meant}; there are {', '.join(HOOKS)}"
        if name in HOOKS and not marked:
            return f"{name} is not marked as a hook: write @hookimpl above it"
    return None


def _hooks(manager: pluggy.PluginManager) -> list[tuple[PluginKind, Callable[..., Any]]]:
    return [(kind, getattr(manager.hook, name)) for name, kind in HOOKS.items()]


def _taker(
    registry: Registry, plugin: str, kind: PluginKind, built_in: bool, inline: bool
) -> Callable[..., None]:
    def register(
        name: str,
        target: str | Path,
        *,
        params: type[Params] = Params,
        summary: str = "",
        card: MethodCard | None = None,
        variants: Mapping[str, MethodCard] | None = None,
    ) -> None:
        cards = dict(variants or {})
        reason = _refusal(registry, kind, name, params) or _card_refusal(card, cards, params)
        if reason is None and not built_in:
            reason = _defaults_refusal(params)
        if reason is not None:
            registry.broken.append(BrokenPlugin(plugin, f"{kind} {name!r}{reason}"))
            return
        registry.registrations[kind, name] = Registration(
            kind, name, plugin, str(target), params, summary, built_in, inline, card, cards
        )

    return register


def _refusal(registry: Registry, kind: PluginKind, name: object, params: object) -> str | None:
    """Why a registration is not taken, in words that follow its kind and name."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return ": a name is lower-case letters, digits and hyphens"
    if not (isinstance(params, type) and issubclass(params, Params)):
        return ": its params are no subclass of dorib.Params"
    if kind == "command" and name in BUILT_IN_COMMANDS:
        return " is one of dorib's own"
    taken = registry.registrations.get((kind, name))
    return f" is already registered by plugin {taken.plugin}" if taken is not None else None


def _defaults_refusal(params: type[Params]) -> str | None:
    """A default that its own parameter would refuse: pydantic does not look at them."""
    strict = new_class(params.__name__, (params,), {"validate_default": True})
    try:
        strict.model_validate({})  # type: ignore[attr-defined]
    except ValidationError as error:
        for problem in error.errors():
            # What speaks of several parameters, or of one that must be given, is the user's to say.
            if problem["loc"] and problem["type"] != "missing":
                default = f"its parameter {problem['loc'][0]} has the default {problem['input']!r}"
                return f": {default}, which it refuses ({problem['msg']}); mend it"
    return None


def _card_refusal(card: object, variants: Mapping[str, object], params: type[Params]) -> str | None:
    if not all(
        isinstance(one, MethodCard) for one in (card, *variants.values()) if one is not None
    ):
        return ": its card is no dorib.MethodCard"
    unknown = [name for name in variants if name.partition("=")[0] not in params.model_fields]
    return f": its card's variant {unknown[0]!r} names no parameter" if unknown else None
