"""What a method makes of a suite, as values that can be compared."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors.torch import load_file
from torch import Tensor

from dorib.config import make_config
from dorib.contracts.registration import MethodKind
from dorib.contracts.specs import MethodSpec
from dorib.errors import DoribError
from dorib.host.calls import PluginError, of_plugin
from dorib.host.configure import NONE, Configured
from dorib.host.registry import Registry
from dorib.ranking.probes import WORK
from dorib.ranking.records import Record
from dorib.reporting import Advance
from dorib.session import Session
from dorib.testing.conformance.stand_ins import NAMES_RULE
from dorib.verbs.attack import attack
from dorib.verbs.context import Subject
from dorib.verbs.generate import generate_attacked, generate_utility
from dorib.verbs.judging import Cell
from dorib.verbs.measure import measure
from dorib.verbs.mitigate import Mitigated, mitigate
from dorib.verbs.preparation.mitigations import prepare_mitigations
from dorib.verbs.probing import probe

# Of a trigger; of a probe.
_WORK = re.compile(rf": work$| {WORK} of ")

Values: TypeAlias = Mapping[str, "Tensor | str"]
"""By item and name: tensors, which may differ by rounding, and all else as text."""

GREY_LEVEL = 1 / 255
"""A step of a picture's values, which are kept in eight bits."""


class MethodError(Exception):
    """The method failed, or what it made was refused."""


class Listener:
    """Keeps what a run says, and can end it at a moment."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextmanager
    def verb(self, name: str, subject: str, total: int) -> Iterator[Advance]:
        """A verb starts."""
        yield self.advance

    def advance(self, units: int) -> None:
        """It advances."""

    def note(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)

    def failure(self, text: str, error: BaseException) -> None:
        """Said by the records, too."""


class Bench:
    """One method on one suite, in one folder for results."""

    def __init__(
        self,
        registry: Registry,
        kind: MethodKind,
        spec: MethodSpec,
        suite: str,
        out: Path,
        listener: Listener | None = None,
        under: MethodSpec | None = None,
        limit: int | None = None,
        **settings: object,
    ) -> None:
        """`under` is the mitigation that an attack or a probe meets (None: `none`)."""
        self.listener = listener or Listener()
        options = {"suite": suite, "out": str(out), "device": "cpu", **settings}
        if limit is not None:
            options["limit"] = limit
        self.session = Session.open(make_config(options), registry, self.listener)
        self.kind = kind
        if kind == "rule":
            around = MethodSpec(name=NAMES_RULE, params={"rule": spec})
            self.method = self.session.configure("mitigation", around)
            # Known now, before the work.
            self.session.configure("rule", spec)
        else:
            self.method = self.session.configure(kind, spec)
        self.under = self.session.configure("mitigation", under or MethodSpec(name=NONE))

    def make(self) -> Values:
        """Run the method.

        Raises:
            MethodError: it failed, in the host's words.
            DoribError: it refuses the suite before any work.
        """
        lacking = self.session.model.conditioning - self.method.method.conditioning
        if lacking:
            raise DoribError(f"cannot work on {', '.join(sorted(lacking))}")
        if self.kind == "mitigation":
            prepare_mitigations(self.session, [self.method])
        match self.kind:
            case "mitigation" | "rule":
                return self._edits()
            case "attack":
                return self._triggers()
            case "metric":
                return self._measured()
            case "probe":
                return self._scores()

    @property
    def work(self) -> int:
        """Search work of an attack, or work of a fit, in U-Net items."""
        session, subjects = self.session, self._subjects()
        if self.kind == "attack":
            attacked = attack(session, self._mitigated(self.under), self.method, subjects)
            budget = attacked.budgets[-1]
            return sum(attacked.trigger(subject, budget).work for subject in subjects)
        if self.kind in ("mitigation", "rule"):
            return self._mitigated(self.method).work(session.memorized)
        return 0

    def _subjects(self) -> list[Subject]:
        return [*self.session.memorized, *self.session.controls]

    def _mitigated(self, method: Configured) -> Mitigated:
        # Whose edit acts on a prompt of utility may be any of the split's, whatever the limit.
        asked = [*self._subjects(), *self.session.utility_prompts]
        subjects = list(dict.fromkeys(self.session.memorized_behind(subject) for subject in asked))
        mitigated = mitigate(self.session, method, subjects)
        if mitigated.failure:
            raise MethodError(mitigated.failure)
        return mitigated

    def _edits(self) -> Values:
        mitigated = self._mitigated(self.method)
        values = _stored(mitigated.shelf.folder, ("edit.safetensors", "edit.json"))
        attacked = attack(self.session, mitigated, self._none("attack"), self.session.memorized)
        generated = generate_attacked(self.session, mitigated, attacked, self.session.memorized)
        utility = generate_utility(self.session, mitigated, self.session.utility_prompts)
        for failures in (generated.failures, utility.failures):
            if failures:
                raise MethodError(next(iter(failures.values())))
        return values | _images(generated.shelf.folder)

    def _triggers(self) -> Values:
        subjects = self._subjects()
        if self.method.replayed is not None:
            raise DoribError("it replays another attack, which is what there is to check")
        attacked = attack(self.session, self._mitigated(self.under), self.method, subjects)
        if attacked.failures:
            raise MethodError(next(iter(attacked.failures.values())))
        return _stored(attacked.shelf.folder, ("trigger.safetensors", "trigger.json"))

    def _measured(self) -> Values:
        session, metric = self.session, self.method.metric
        try:
            with of_plugin(self.method):
                session.prepare(self.method)
        except PluginError as error:
            if isinstance(error.__cause__, DoribError):
                raise error.__cause__ from error
            raise MethodError(str(error)) from error
        mitigated = self._mitigated(self.under)
        subjects = self._subjects()
        attacked = attack(session, mitigated, self._none("attack"), subjects)
        generated = generate_attacked(session, mitigated, attacked, subjects)
        utility = generate_utility(session, mitigated, session.utility_prompts)
        cells = {
            "generations": Cell(mitigated, attacked, generated, session.evaluation_seeds),
            "utility": Cell(mitigated, None, utility, (0,)),
        }
        if "twin" in metric.needs:
            cells = {name: replace(cell, twins=cell.generated) for name, cell in cells.items()}
        records: list[Record] = []
        for need, of in (("generations", subjects), ("utility", session.utility_prompts)):
            if need in metric.needs:
                records += measure(session, self.method, cells[need], of)
        return _values(records)

    def _scores(self) -> Values:
        mitigated = self._mitigated(self.under)
        return _values(probe(self.session, mitigated, self.method, self._subjects()))

    def _none(self, kind: MethodKind) -> Configured:
        return self.session.configure(kind, MethodSpec(name=NONE))


def _values(records: Sequence[Record]) -> Values:
    for record in records:
        if record.error:
            raise MethodError(record.error)
    return {
        f"{record.metric} of {record.sample or record.role}, seed {record.seed}": torch.tensor(
            record.value
        )
        for record in records
    }


def _images(folder: Path) -> dict[str, Tensor | str]:
    from dorib.suites.images import read_image

    return {path.name: read_image(path) for path in sorted(folder.rglob("*.png"))}


def _stored(folder: Path, names: Sequence[str]) -> dict[str, Tensor | str]:
    """Tensors and descriptions of all items below `folder`."""
    values: dict[str, Tensor | str] = {}
    for path in sorted(path for path in folder.rglob("*") if path.name in names):
        item = path.parent.name
        if path.suffix == ".safetensors":
            values |= {f"{item}: {name}": value for name, value in load_file(path).items()}
        else:
            values |= {
                f"{item}: {name}": value
                for name, value in _flat(json.loads(path.read_text())).items()
            }
    return values


def _flat(content: object, name: str = "") -> dict[str, Tensor | str]:
    if isinstance(content, dict):
        parts = ((f"{name}.{key}" if name else key, value) for key, value in content.items())
    elif isinstance(content, list):
        parts = ((f"{name}[{number}]", value) for number, value in enumerate(content))
    elif isinstance(content, float):
        return {name: torch.tensor(content)}
    else:
        return {name: json.dumps(content)}
    return {key: value for part, inner in parts for key, value in _flat(inner, part).items()}


def without_work(values: Values) -> Values:
    """`values` without what each sample's work was."""
    return {name: value for name, value in values.items() if not _WORK.search(name)}


def difference(one: Values, other: Values, tolerance: float = 2e-3) -> str | None:
    """What differs by more than rounding, in words; None where nothing does.

    Values may be apart by `tolerance`, of the largest where that is above 1. Of a picture that is
    the mean over its pixels: single ones may be a grey level apart, to which rounding can bring
    equal images. A tolerance of 0 allows neither.
    """
    if one.keys() != other.keys():
        return f"{sorted(one.keys() ^ other.keys())[0]} is made in one of them alone"
    for name, value in one.items():
        theirs = other[name]
        if isinstance(value, str) or isinstance(theirs, str):
            if value != theirs:
                return f"{name} is {value} and {theirs}"
        elif value.shape != theirs.shape:
            return f"{name} has the shapes {[*value.shape]} and {[*theirs.shape]}"
        elif value.numel():
            apart = (value.double() - theirs.double()).abs()
            within = tolerance * max(1.0, float(value.double().abs().max()))
            if name.endswith(".png") and tolerance:
                if not float(apart.mean()) <= tolerance:
                    return f"{name} differs by {float(apart.mean()):.2g} on average"
                within = 1.5 * GREY_LEVEL
            if not float(apart.max()) <= within:
                return f"{name} differs by {float(apart.max()):.2g}"
    return None
