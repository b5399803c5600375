"""From a spec to a configured method: look it up, check its parameters, fingerprint it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic_core import PydanticSerializationError

from dorib.contracts.cards import MethodCard, card_for
from dorib.contracts.methods import Attack, Method, Metric, Mitigation, Probe
from dorib.contracts.params import Params
from dorib.contracts.registration import MethodKind
from dorib.contracts.specs import MethodSpec
from dorib.errors import DoribError
from dorib.host.classes import flaw_of, flaw_of_quantities
from dorib.host.registry import Registration, Registry
from dorib.host.spelling import Spelling, unbuilt
from dorib.store.code import package_digest
from dorib.store.fingerprint import digest, method_slug
from dorib.validation import checked

NONE = "none"
ORACLE = "retrain"


@dataclass(frozen=True)
class Configured:
    """A registered method with checked parameters."""

    registration: Registration
    method: Method[Any]
    spelling: Spelling
    parts: Mapping[str, Configured] = field(default_factory=dict)
    """The methods that this one builds on, by role."""

    @property
    def name(self) -> str:
        """The registered name."""
        return self.registration.name

    @cached_property
    def label(self) -> str:
        """As typed: the name, with the parameters that differ from the defaults."""
        return self.spelling.label

    @property
    def title(self) -> str:
        """How messages name it: kind, label and plugin."""
        registration = self.registration
        return f"{registration.kind} {self.label} (plugin {registration.plugin})"

    @cached_property
    def params(self) -> dict[str, Any]:
        """All parameters, defaults included, as JSON values; of a file its name and sha256."""
        return self.spelling.values()

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the name, the parameters, all that the plugin computes with, and the same of
        all parts."""
        package = self.registration.target.partition(":")[0].partition(".")[0]
        own = [self.registration.kind, self.name, self.params, package_digest(package)]
        parts = {role: part.fingerprint for role, part in self.parts.items()}
        return digest([*own, parts] if parts else own)

    @property
    def card(self) -> MethodCard | None:
        """What leaderboards show of it with these parameters; None where there is none."""
        registration = self.registration
        return card_for(registration.card, dict(registration.variants), self.params)

    @property
    def slug(self) -> str:
        """The label as part of a file name."""
        return method_slug(self.name, self.label, self.params)

    @property
    def mitigation(self) -> Mitigation[Any]:
        """The method as the mitigation it is."""
        assert isinstance(self.method, Mitigation)
        return self.method

    @property
    def attack(self) -> Attack[Any]:
        """The method as the attack it is."""
        assert isinstance(self.method, Attack)
        return self.method

    @property
    def replayed(self) -> Configured | None:
        """The attack whose triggers this attack replays; None where it replays none."""
        role = self.attack.replays
        return self.parts[role] if role else None

    @property
    def probe(self) -> Probe[Any]:
        """The method as the probe it is."""
        assert isinstance(self.method, Probe)
        return self.method

    @property
    def metric(self) -> Metric[Any]:
        """The method as the metric it is."""
        assert isinstance(self.method, Metric)
        return self.method


def configure(registry: Registry, kind: MethodKind, spec: MethodSpec) -> Configured:
    """Build the method that `spec` names, and the methods that it builds on.

    Raises:
        DoribError: a name or a parameter is unknown or wrong, a plugin cannot be loaded, or a
            method builds on itself.
    """
    return _configure(registry, kind, spec, ())


def _configure(
    registry: Registry,
    kind: MethodKind,
    spec: MethodSpec,
    above: tuple[tuple[MethodKind, str], ...],
) -> Configured:
    chain = (*above, (kind, spec.name))
    if chain[-1] in above:
        path = " > ".join(name for _, name in chain[above.index(chain[-1]) :])
        raise DoribError(
            f"{kind} {spec.name}: builds on itself ({path}); name another method in its parameters"
        )
    registration = registry.get(kind, spec.name)
    where = f"{kind} {spec.name}"
    params = checked(registration.params, spec.params, where, names="parameters")
    method = _built(registration, params)
    parts = {}
    built: list[tuple[MethodSpec, Spelling]] = []
    for role, (part_kind, part) in _named_parts(registration, method).items():
        try:
            parts[role] = _configure(registry, part_kind, part, chain)
        except DoribError as error:
            raise DoribError(f"{kind} {spec.name}: as its {role}, {error}") from error
        built.append((part, parts[role].spelling))
    method.methods = {role: part.method for role, part in parts.items()}

    def find(named: MethodSpec) -> Spelling | None:
        known = (spelling for part, spelling in built if part == named)
        return next(known, None) or unbuilt(registry, named)

    configured = Configured(registration, method, Spelling.of(spec, params, find), parts)
    try:
        # Files that the parameters name are read now, before any work.
        _ = configured.params
    except PydanticSerializationError as error:
        raise DoribError(f"{where}: {error.__cause__ or error}") from error
    return configured


def _named_parts(
    registration: Registration, method: Method[Any]
) -> Mapping[str, tuple[MethodKind, MethodSpec]]:
    """What a method says that it builds on.

    Raises:
        DoribError: it is no mapping from roles to kinds and specs, or lacks what it replays.
    """
    try:
        parts = dict(method.builds_on())
    except Exception as error:
        raise _flawed(registration, f"cannot say what it builds on ({error!r})") from error
    for role, part in parts.items():
        match part:
            case (str(), MethodSpec()) if isinstance(role, str):
                continue
        flaw = f'builds on {part!r} as {role!r}: give {{"ROLE": (KIND, MethodSpec(NAME))}}'
        raise _flawed(registration, flaw)
    replays = method.replays if isinstance(method, Attack) else None
    if replays is not None and replays not in parts:
        flaw = f"replays {replays!r}, which is no role in its `builds_on`: name that attack there"
        raise _flawed(registration, flaw)
    return parts


def _flawed(registration: Registration, flaw: str) -> DoribError:
    return DoribError(
        f"plugin {registration.plugin}: {registration.target} {flaw}; {registration.mend}"
    )


def _built(registration: Registration, params: Params) -> Method[Any]:
    """The method itself, its class checked against what its kind must declare.

    Raises:
        DoribError: it cannot be loaded or built, or its class lacks something.
    """
    loaded = registration.load()
    flaw = flaw_of(registration, loaded)
    if flaw is None:
        try:
            method: Method[Any] = loaded(params)
            if isinstance(method, Metric):
                # Here as well, since its parameters may decide them.
                own = registration.built_in
                flaw = flaw_of_quantities(type(method), method.quantities, built_in=own)
        except Exception as error:  # noqa: BLE001 - a plugin's constructor may raise anything
            flaw = f"cannot be built ({type(error).__name__}: {error})"
        if flaw is None:
            return method
    raise _flawed(registration, flaw)


def configure_all(
    registry: Registry,
    kind: MethodKind,
    specs: Sequence[MethodSpec],
    first: Sequence[str] = (),
    not_in_all: Sequence[str] = (),
) -> list[Configured]:
    """All methods of `specs`, each once, those named in `first` ahead.

    `all` means every registered one but those in `not_in_all`, and those that have a parameter
    without a default.
    """
    wanted = [MethodSpec(name=name) for name in first]
    for spec in specs:
        if spec.name == "all" and spec.params:
            raise DoribError(
                f"{kind} all: takes no parameters; name the {kind} that they are meant for"
            )
        if spec.name == "all":
            wanted += [
                MethodSpec(name=registration.name)
                for registration in registry.of_kind(kind)
                if registration.name not in not_in_all
                and not any(f.is_required() for f in registration.params.model_fields.values())
            ]
        else:
            wanted.append(spec)
    configured: dict[str, Configured] = {}
    for spec in wanted:
        method = configure(registry, kind, spec)
        first_of_label = configured.setdefault(method.label, method)
        if first_of_label.params != method.params:
            raise DoribError(
                f"{kind} {method.label}: stands for two files of one name; rename one of them"
            )
    return list(configured.values())
