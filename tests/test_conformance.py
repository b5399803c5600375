"""`dorib check`: finds what is planted, names it rightly, and passes the built-in methods."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dorib.contracts.registration import MethodKind
from dorib.contracts.specs import MethodSpec
from dorib.errors import DoribError
from dorib.host.registry import Registry, discover
from dorib.testing.conformance.checks import CHECKS, Check, check
from dorib.testing.conformance.workplace import Workplace
from fixtures import faults
from fixtures.every_method import ELSEWHERE, every_form

FILE = Path(faults.__file__)
BY_NAME = {one.name: one for one in CHECKS}
DOCS = Path(__file__).parents[1] / "docs" / "plugins.md"

IN_CI = {"wanda:sparsity=0.1", "dori:pairs=2,start=prompt"}
"""Of methods on a model, those looked at in CI; the others weekly."""
# Kind, as typed, and whether it is looked at in CI.
BUILT_IN: list[tuple[MethodKind, str, bool]] = [
    *((kind, spec, spec in IN_CI) for kind, spec, _ in every_form()),
    ("metric", "clip", True),
    ("metric", "image-similarity", False),
    ("metric", "image-quality", False),
    ("rule", "prompt-noise", False),
    ("rule", "guidance", False),
    ("rule", "attention", False),
    ("rule", "attention-repulsion:repulsion=1", False),
    ("rule", "embedding-descent:steps=2,threshold=0", False),
    ("rule", "noise-descent:steps=2,threshold=0", False),
    ("rule", "noise-adjustment", False),
]
# What cannot be looked at on a random suite, and what is said of it.
REFUSED: dict[tuple[MethodKind, str], str] = {
    **ELSEWHERE,
    # Looked at in the mitigation that writes its substitutes.
    ("rule", "prompt-filter"): "'substitutes': is missing",
    ("metric", "sscd"): "descriptor",
    ("metric", "sscd-agreement"): "'backend': is missing",
}


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    # As an author would name it, under the name of the file.
    sys.modules.pop("faults", None)
    yield discover(files=[FILE])
    sys.modules.pop("faults", None)


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the random suites are kept for all tests."""
    return tmp_path_factory.mktemp("conformance")


def workplace(
    registry: Registry, kind: MethodKind, spec: str, folder: Path, suites: Path
) -> Workplace:
    (folder / "suites").symlink_to(suites)
    return Workplace(registry, kind, MethodSpec.parse(spec), folder, plugins=(FILE,))


@pytest.mark.parametrize("name", faults.FAULTS)
def test_what_is_planted_is_found(
    name: str, registry: Registry, tmp_path: Path, suites: Path
) -> None:
    kind, found_by, _ = faults.FAULTS[name]
    place = workplace(registry, kind, name, tmp_path, suites)
    found = list(BY_NAME[found_by].look(place))
    assert found
    assert all("\n" not in said for said in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", faults.FAULTS)
def test_nothing_else_is_found(name: str, registry: Registry, tmp_path: Path, suites: Path) -> None:
    kind, found_by, _ = faults.FAULTS[name]
    report = check(workplace(registry, kind, name, tmp_path, suites))
    assert {finding.check.name for finding in report.findings} == {found_by}
    presupposing = {one.name for one in CHECKS if found_by in one.presupposes and kind in one.kinds}
    assert {*report.skipped} == presupposing


def test_there_are_enough_of_them() -> None:
    assert len(faults.FAULTS) >= 25
    looked_for = {found_by for _, found_by, _ in faults.FAULTS.values()}
    assert looked_for | {"cheap", "public"} == set(BY_NAME)


@pytest.mark.parametrize(
    ("kind", "spec"),
    [pytest.param(kind, spec, marks=() if ci else pytest.mark.slow) for kind, spec, ci in BUILT_IN],
)
def test_built_in_methods_keep_all_rules(
    kind: MethodKind, spec: str, registry: Registry, tmp_path: Path, suites: Path
) -> None:
    report = check(workplace(registry, kind, spec, tmp_path, suites))
    assert [f"{f.check.name}: {f.said}" for f in report.findings] == []
    assert not report.skipped


@pytest.mark.parametrize(("kind", "name"), REFUSED)
def test_what_no_random_suite_serves_is_refused_in_a_line(
    kind: MethodKind, name: str, registry: Registry, tmp_path: Path, suites: Path
) -> None:
    try:
        report = check(workplace(registry, kind, name, tmp_path, suites))
    except DoribError as refusal:
        said = str(refusal)
    else:
        # A fit may refuse as well: then nothing else is looked at.
        [finding] = report.findings
        said = finding.said
        assert report.skipped
    assert REFUSED[kind, name] in said
    assert "\n" not in said


def test_every_built_in_method_is_looked_at() -> None:
    registered = {
        (one.kind, one.name)
        for one in discover().registrations.values()
        if one.built_in and one.kind not in ("suite", "command")
    }
    looked_at = {(kind, spec.partition(":")[0]) for kind, spec, _ in BUILT_IN}
    assert looked_at | REFUSED.keys() == registered
    assert not looked_at & REFUSED.keys()
    assert {spec for _, spec, _ in BUILT_IN} >= IN_CI


@pytest.mark.parametrize("one", CHECKS, ids=[one.name for one in CHECKS])
def test_each_rule_stands_in_the_docs(one: Check) -> None:
    assert one.rule in " ".join(DOCS.read_text().split())


@pytest.mark.parametrize(
    ("line", "found_by"),
    [
        ("import torch", "cheap"),
        ("from dorib.runner import run", "public"),
        ("import dorib_wanda", "public"),
    ],
)
def test_a_package_is_looked_at_as_a_whole(
    line: str, found_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = f"planted_{found_by}_{len(line)}"
    folder = tmp_path / "site" / package
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f"{line}\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    registry = discover()
    wanda = registry.get("mitigation", "wanda")
    from dataclasses import replace

    planted = replace(wanda, target=f"{package}:Nothing")
    registry.registrations["mitigation", "wanda"] = planted
    place = Workplace(registry, "mitigation", MethodSpec(name="wanda"), tmp_path)
    assert [said for said in BY_NAME[found_by].look(place) if line.split()[1] in said]
