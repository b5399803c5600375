"""Labels show files by their names, however deep in a method they stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dorib import (
    DoribError,
    Edit,
    FileParam,
    FolderParam,
    MethodChoice,
    MethodSpec,
    Mitigation,
    ModelParam,
    Params,
)
from dorib.contracts.registration import MethodKind
from dorib.host.configure import Configured, configure, configure_all
from dorib.host.registry import Registration, Registry
from dorib.ranking.entries import Entry
from dorib.ranking.rank import rank
from dorib.store.fingerprint import file_digest
from fixtures.scored import CELLS, RECORDS, RUN


class PointingParams(Params):
    file: FileParam | None = None
    files: tuple[FileParam, ...] = ()
    folder: FolderParam | None = None
    model: ModelParam | None = None
    strength: float = 1.0


class HoldingParams(Params):
    one: MethodChoice | None = None
    several: tuple[MethodChoice, ...] = ()
    unused: MethodChoice | None = None


class Holding(Mitigation[HoldingParams]):
    """Builds on others, and can name one that it does not build on."""

    def builds_on(self) -> Mapping[str, tuple[MethodKind, MethodSpec]]:
        named = [*([self.params.one] if self.params.one else []), *self.params.several]
        return {f"part {i}": (kind_of(spec.name), spec) for i, spec in enumerate(named)}

    def fit(self, model, view, seeds, ledger) -> Edit:
        return Edit(None)


def kind_of(name: str) -> MethodKind:
    return "attack" if name == "pointing" else "mitigation"


REGISTRY = Registry(
    {
        (kind, name): Registration(kind, name, "tests", target, params)
        for kind, name, target, params in [
            ("mitigation", "holding", f"{__name__}:Holding", HoldingParams),
            ("mitigation", "keeping", f"{__name__}:Holding", HoldingParams),
            ("attack", "pointing", "dorib_reference.attacks:OwnPrompt", PointingParams),
        ]
    }
)


def configured(text: str) -> Configured:
    return configure(REGISTRY, "mitigation", MethodSpec.parse(text))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "w.bin").write_bytes(b"w")
    return tmp_path / "place" / "w.bin"


FORMS = {
    "holding:one=pointing:file={}": "holding:one=pointing:file=w.bin",
    "holding:one=(pointing:strength=2,file={})": "holding:one=(pointing:file=w.bin,strength=2.0)",
    "holding:one=(pointing:files=[{}])": 'holding:one=pointing:files=["w.bin"]',
    "holding:one=pointing:folder={.parent}": "holding:one=pointing:folder=place",
    "holding:one=pointing:model={.parent}": "holding:one=pointing:model=place",
    "holding:one=(keeping:one=pointing:file={})": "holding:one=keeping:one=pointing:file=w.bin",
    'holding:several=["pointing:file={}", pointing]': (
        'holding:several=["pointing:file=w.bin", "pointing"]'
    ),
    "holding:unused=pointing:file={}": "holding:unused=pointing:file=w.bin",
    "holding:unused=(holding:unused=pointing:file={})": (
        "holding:unused=holding:unused=pointing:file=w.bin"
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_label_shows_no_path(path: Path, form: str) -> None:
    method = configured(form.format(path))
    assert method.label == FORMS[form]
    assert str(path.parent.parent) not in str(method.params)


@pytest.mark.parametrize("form", FORMS)
def test_an_entry_takes_what_the_label_and_the_parameters_say(path: Path, form: str) -> None:
    method = configured(form.format(path))
    assert entry_of(method).mitigation.label == method.label
    with pytest.raises(ValueError, match="label"):
        entry_of(method, label=method.label.replace("w.bin", "v.bin").replace("place", "other"))


def entry_of(method: Configured, **changes: Any) -> Entry:
    entry = next(e for e in rank(RUN, CELLS, RECORDS) if not e.reference_line)
    facts = {"label": method.label, "name": method.name, "params": method.params}
    content = entry.model_dump(mode="json")
    content["mitigation"] |= facts | changes
    return Entry.model_validate(content)


@pytest.mark.parametrize("form", [form for form in FORMS if "{}" in form])
def test_the_content_of_a_file_decides_and_not_its_place(path: Path, form: str) -> None:
    before = configured(form.format(path))
    assert file_digest(path) in str(before.params)
    moved = path.parent.rename(path.parent.parent / "elsewhere") / path.name
    elsewhere = configured(form.format(moved))
    assert (elsewhere.label, elsewhere.params) == (before.label, before.params)
    assert elsewhere.fingerprint == before.fingerprint
    moved.write_bytes(b"v")
    changed = configured(form.format(moved))
    assert changed.label == before.label
    assert changed.fingerprint != before.fingerprint and changed.slug != before.slug


def test_two_files_of_one_name_are_told_apart(path: Path) -> None:
    other = path.parent.parent / path.name
    other.write_bytes(b"other")
    specs = [MethodSpec.parse(f"holding:one=pointing:file={one}") for one in (path, other)]
    with pytest.raises(DoribError, match=re.escape("stands for two files of one name")):
        configure_all(REGISTRY, "mitigation", specs)


def test_a_method_without_files_is_written_as_it_is_typed() -> None:
    method = configured("holding:one=pointing:strength=2,unused=pointing:strength=3")
    assert method.params["one"] == "pointing:strength=2.0"
    assert method.params["unused"] == "pointing:strength=3.0"


def test_the_defaults_of_a_method_inside_are_left_out() -> None:
    typed, short = configured("holding:one=pointing:strength=1"), configured("holding:one=pointing")
    assert typed.label == short.label == "holding:one=pointing"
    assert typed.fingerprint == short.fingerprint


@pytest.mark.parametrize("named", ["unknown:file=x", "pointing:other=x"])
def test_a_method_that_is_not_there_and_not_used_is_written_as_typed(named: str) -> None:
    assert configured(f"holding:unused={named}").label == f"holding:unused={named}"
