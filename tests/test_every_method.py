"""Every built-in method on the three architectures: it runs there, or says in a line why not.

On narrow Stable Diffusion 1.4 (noise prediction), 2.1 (velocity prediction) and SDXL of the true
topology: nothing depends on the batch, and what was killed goes on to the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from dorib.contracts.registration import MethodKind
from dorib.contracts.specs import MethodSpec
from dorib.errors import DoribError
from dorib.host.registry import Registry, discover
from dorib.testing.conformance.killed import KilledRun
from dorib.testing.conformance.made import Values, difference, without_work
from dorib.testing.conformance.workplace import Workplace
from fixtures.every_method import ELSEWHERE, FORMS, KINDS, every_form

ARCHITECTURES = {"SD 1.4": "epsilon", "SD 2.1": "plain", "SDXL": "sdxl"}
"""By name, the random suite that has it."""
SETTINGS: Mapping[str, object] = {"batch_size": 8, "seeds": 3, "budgets": [24]}

REFUSED: Mapping[tuple[str, str], str] = {}
"""By architecture and method, what is said where it cannot be run; today there is nothing."""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the random suites are kept for all tests."""
    return tmp_path_factory.mktemp("architectures")


@pytest.fixture
def place(
    kind: MethodKind, spec: str, registry: Registry, suites: Path, tmp_path: Path
) -> Workplace:
    (tmp_path / "suites").symlink_to(suites)
    return Workplace(registry, kind, MethodSpec.parse(spec), tmp_path)


def made(place: Workplace, results: str, architecture: str, **changes: object) -> Values | None:
    """What the method makes; None where it is refused, in the line that is known."""
    settings = {**SETTINGS, **changes}
    expected = REFUSED.get((architecture, place.spec.name))
    try:
        values = place.bench(results, ARCHITECTURES[architecture], **settings).make()
    except DoribError as refusal:
        said = str(refusal)
        assert "\n" not in said
        assert expected is not None and expected in said, said
        return None
    assert expected is None
    return values


def in_ci() -> Iterator[object]:
    """Where most differs from what a method was written on, what takes least."""
    for kind, spec, cheap in every_form():
        yield pytest.param(kind, spec, marks=() if cheap else pytest.mark.slow)


@pytest.mark.parametrize(("kind", "spec"), in_ci())
def test_it_runs_on_sdxl_or_says_why_not(kind: MethodKind, spec: str, place: Workplace) -> None:
    values = made(place, "one", "SDXL", limit=1, seeds=1)
    assert values is None or values


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("kind", "spec"), [(kind, spec) for kind, spec, _ in every_form()])
def test_neither_batches_nor_kills_change_what_it_gives(
    kind: MethodKind,
    spec: str,
    architecture: str,
    place: Workplace,
    capsys: pytest.CaptureFixture[str],
) -> None:
    together = made(place, "together", architecture)
    with capsys.disabled():
        print(f"\n{kind} {spec} | {architecture} | {'runs' if together else 'refused'}")
    if together is None:
        return
    alone = made(place, "alone", architecture, batch_size=1)
    assert alone is not None
    # Whom the work is written to is told by the sample; what a batch shares is shared otherwise.
    assert difference(without_work(together), without_work(alone)) is None

    run = KilledRun(
        {
            "kind": kind,
            "spec": spec,
            "suite": place.suite(ARCHITECTURES[architecture]),
            "out": str(place.results("killed")),
            "limit": None,
            "plugins": [],
            "settings": SETTINGS,
        }
    )
    # A method that reports its work once is done before it could be killed.
    run.was_killed()
    resumed = made(place, "killed", architecture)
    assert resumed is not None
    assert difference(together, resumed, tolerance=0) is None


def test_nothing_is_named_here_that_is_not_there() -> None:
    registered = {
        (one.kind, one.name) for one in discover().registrations.values() if one.kind in KINDS
    }
    assert {*FORMS} | {*ELSEWHERE} <= registered
    assert not {*FORMS} & {*ELSEWHERE}
    assert {architecture for architecture, _ in REFUSED} <= {*ARCHITECTURES}
