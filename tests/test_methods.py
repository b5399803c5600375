"""Methods by name: specs in all their forms, labels that can be typed, methods built on others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from dorib import Attack, DoribError, Edit, MethodChoice, MethodSpec, Mitigation, Params
from dorib.config import make_config, read_config
from dorib.contracts.registration import MethodKind
from dorib.host.configure import Configured, configure
from dorib.host.registry import Registration, Registry


class SearchParams(Params):
    rate: float = 0.1
    pairs: int = 8
    start: str = "prompt"


class Search(Attack[SearchParams]):
    knows = frozenset()

    def search(self, model, targets, budgets, seeds, ledger):
        yield from ()


class BuiltParams(Params):
    search: MethodChoice = MethodSpec(name="seek")
    below: MethodChoice | None = None
    strength: float = 1.0


class Built(Mitigation[BuiltParams]):
    def builds_on(self) -> Mapping[str, tuple[MethodKind, MethodSpec]]:
        below = self.params.below
        needs: dict[str, tuple[MethodKind, MethodSpec]] = {"search": ("attack", self.params.search)}
        return needs if below is None else {**needs, "below": ("mitigation", below)}

    def fit(self, model, view, seeds, ledger) -> Edit:
        return Edit(None)


class NoAttack(Mitigation[Params]):
    def fit(self, model, view, seeds, ledger) -> Edit:
        return Edit(None)


REGISTRY = Registry(
    {
        (kind, name): Registration(kind, name, "tests", f"{__name__}:{target}", params)
        for kind, name, target, params in [
            ("attack", "seek", "Search", SearchParams),
            ("attack", "broken", "NoAttack", Params),
            ("mitigation", "built", "Built", BuiltParams),
            ("mitigation", "other", "Built", BuiltParams),
            ("mitigation", "plain", "NoAttack", Params),
        ]
    }
)


def configured(text: str, kind: MethodKind = "mitigation") -> Configured:
    return configure(REGISTRY, kind, MethodSpec.parse(text))


def test_the_host_hands_over_what_a_method_builds_on() -> None:
    built = configured("built:search=seek:rate=0.2,strength=2").method
    assert built.params.strength == 2
    assert set(built.methods) == {"search"}
    search = built.methods["search"]
    assert isinstance(search, Search)
    assert search.params == SearchParams(rate=0.2)
    assert search.methods == {}


def test_parts_are_resolved_however_deep() -> None:
    deep = configured("built:below=(other:search=(seek:rate=0.3,pairs=2),strength=4)")
    below = deep.method.methods["below"]
    assert below.params.strength == 4
    assert below.methods["search"].params == SearchParams(rate=0.3, pairs=2)
    assert deep.method.methods["search"].params == SearchParams()


FORMS: dict[str, Any] = {
    "command line": "built:search=(seek:rate=0.2,pairs=4),strength=2",
    "YAML flow on the command line": "built:search={name: seek, rate: 0.2, pairs: 4},strength=2",
    "mapping": {
        "name": "built",
        "search": {"name": "seek", "rate": 0.2, "pairs": 4},
        "strength": 2,
    },
    "mapping with a typed part": {
        "name": "built",
        "search": "seek:rate=0.2,pairs=4",
        "strength": 2,
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_run_files_and_the_command_line_say_the_same(form: str, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({"mitigation": [FORMS[form]]}))
    (spec,) = read_config(file, {}).mitigation
    one = configure(REGISTRY, "mitigation", spec)
    assert one.method.methods["search"].params == SearchParams(rate=0.2, pairs=4)
    assert one.label == "built:search=(seek:pairs=4,rate=0.2),strength=2.0"
    assert one.fingerprint == configured(one.label).fingerprint
    assert one.params["search"] == "seek:pairs=4,rate=0.2"


@pytest.mark.parametrize("text", ["built", "built:search=seek", "built:strength=1.0"])
def test_a_default_that_is_typed_leaves_the_label_alone(text: str) -> None:
    assert configured(text).label == "built"


def test_a_parts_fingerprint_enters_the_dependents(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, built = configured("plain").fingerprint, configured("built").fingerprint
    assert configured("built:search=seek:rate=0.2").fingerprint != built
    # The part itself changes while the dependent's own parameters stay.
    monkeypatch.setattr(SearchParams.model_fields["rate"], "default", 0.5)
    SearchParams.model_rebuild(force=True)
    try:
        assert configured("built").params == {"search": "seek", "below": None, "strength": 1.0}
        assert configured("built").fingerprint != built
        assert configured("plain").fingerprint == plain
    finally:
        monkeypatch.undo()
        SearchParams.model_rebuild(force=True)
    assert configured("built").fingerprint == built


BAD = {
    "built:search=ghost": ["mitigation built", "search", "unknown attack 'ghost'", "seek"],
    "built:search=seek:rat=1": ["mitigation built", "search", "attack seek", "'rat'", "rate"],
    "built:search=seek:rate=much": ["attack seek", "'rate'", "number"],
    "built:search=seek:rate": ["seek:rate", "parameter=value"],
    "built:search=3": ["mitigation built", "'search'", "'name:parameter=value'"],
    "built:search=plain": ["unknown attack 'plain'"],
    "built:search=broken": ["NoAttack is no attack"],
    "built:below=built": ["builds on itself (built > built)", "name another method"],
    "built:below=other:below=built": ["builds on itself (built > other > built)"],
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_part_is_one_line_that_names_it(text: str) -> None:
    with pytest.raises(DoribError) as caught:
        configured(text)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in BAD[text]), message


def test_one_part_may_serve_in_two_places() -> None:
    """A diamond is no cycle."""
    both = configured("built:below=other")
    assert type(both.method.methods["below"].methods["search"]) is Search
    assert type(both.method.methods["search"]) is Search


NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,5}", fullmatch=True).filter(
    lambda name: isinstance(yaml.safe_load(name), str)
)
VALUES = st.one_of(
    st.integers(-99, 99),
    st.booleans(),
    st.none(),
    NAMES,
    st.lists(st.integers(0, 9), max_size=3),
)
FLAT = st.builds(MethodSpec, name=NAMES, params=st.dictionaries(NAMES, VALUES, max_size=3))


@given(FLAT, st.dictionaries(NAMES, st.one_of(VALUES, FLAT), max_size=3))
def test_a_spec_reads_back_what_it_prints(inner: MethodSpec, params: dict[str, Any]) -> None:
    spec = MethodSpec(name=inner.name, params={**params, "inner": inner})
    read = MethodSpec.parse(str(spec))
    assert read.name == spec.name
    assert set(read.params) == set(spec.params)
    for name, value in spec.params.items():
        found = read.params[name]
        assert (MethodSpec.parse(found) if isinstance(value, MethodSpec) else found) == value


def test_lists_can_be_typed() -> None:
    (spec,) = make_config({"mitigation": "plain:levels=[1,2],name=(a,b)"}).mitigation
    assert spec.params == {"levels": [1, 2], "name": "(a,b)"}


def test_params_lists_a_method_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    from dorib.cli.app import app

    monkeypatch.setattr("dorib.host.registry.discover", lambda files=(): REGISTRY)
    result = CliRunner().invoke(app, ["params", "mitigation", "built"])
    assert result.exit_code == 0
    row = next(line for line in result.output.splitlines() if line.startswith("search"))
    assert row.split()[:3] == ["search", "seek", "method"]
