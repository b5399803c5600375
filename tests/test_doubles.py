"""The gate: of each bad plugin the reaction, quoted in `doubles`, and the others get their rows."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import doubles.attacks
import doubles.classes
import doubles.leftovers
import doubles.metrics
import doubles.mitigations
import doubles.rules
import doubles.tricks
from dorib import DoribError, MethodSpec
from dorib.cli.app import main
from dorib.config import make_config
from dorib.host.calls import fenced_randomness
from dorib.host.configure import configure
from dorib.host.registry import Registry, discover
from dorib.report.run_result import RunResult
from dorib.reporting import Advance
from dorib.runner import run

KINDS = ("attacks", "classes", "leftovers", "metrics", "mitigations", "rules", "tricks")
ATTACKS = {**doubles.attacks.DOUBLES, **doubles.tricks.DOUBLES}
MITIGATIONS = {**doubles.mitigations.DOUBLES, **doubles.leftovers.DOUBLES}
GOOD_MITIGATION = "wanda:sparsity=0.1"
GOOD_ATTACK = "dori"


class Notes:
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @contextmanager
    def verb(self, name: str, subject: str, total: int) -> Iterator[Advance]:
        yield lambda units: None

    def note(self, text: str) -> None:
        self.said.append(text)

    def failure(self, text: str, error: BaseException) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def registry(built_in_plugins: list[EntryPoint]) -> Registry:
    points = [EntryPoint(f"bad-{kind}", f"doubles.{kind}", "dorib") for kind in KINDS]
    return discover([*built_in_plugins, *points])


@pytest.fixture(scope="module")
def notes() -> Notes:
    return Notes()


def score(suite: Path, out: Path, registry: Registry, notes: Notes, **options: Any) -> RunResult:
    config = {"suite": str(suite), "out": str(out), "metric": ["sscd"], **options}
    return run(make_config(config), registry, notes)


def errors(result: RunResult, **where: str) -> set[str]:
    """The reasons of the error records of one cell."""
    lines = [json.loads(line) for line in result.records.read_text().splitlines()]
    chosen = [line for line in lines if all(line[k] == v for k, v in where.items())]
    assert chosen
    return {line["error"] for line in chosen if line["error"]}


def asked(request: pytest.FixtureRequest, names: Iterable[str]) -> list[str]:
    """Of `names` those that tests ask this fixture for: all where one asks for the whole run."""
    tests = [test for test in request.session.items if request.fixturename in test.fixturenames]
    found = {test.callspec.params["name"] if hasattr(test, "callspec") else None for test in tests}
    return [name for name in names if None in found or name in found]


@pytest.fixture(scope="module")
def mitigated(
    request: pytest.FixtureRequest,
    tiny_suite_folder: Path,
    registry: Registry,
    notes: Notes,
    tmp_path_factory: pytest.TempPathFactory,
) -> RunResult:
    """All bad mitigations and rules in one run, and a good one after them."""
    doubles.mitigations.StealsTheOracle.folder = tiny_suite_folder / "oracle"
    names = asked(request, [*MITIGATIONS, *doubles.rules.DOUBLES])
    names.append(GOOD_MITIGATION)
    out = tmp_path_factory.mktemp("bad-mitigations")
    return score(tiny_suite_folder, out, registry, notes, mitigation=names, limit=2, seeds=1)


@pytest.fixture(scope="module")
def attacked(
    request: pytest.FixtureRequest,
    tiny_suite_folder: Path,
    registry: Registry,
    notes: Notes,
    tmp_path_factory: pytest.TempPathFactory,
) -> RunResult:
    """All bad attacks in one run, and a good one after them."""
    names = [*asked(request, ATTACKS), GOOD_ATTACK]
    out = tmp_path_factory.mktemp("bad-attacks")
    return score(tiny_suite_folder, out, registry, notes, attack=names, limit=1, seeds=1)


@pytest.fixture(scope="module")
def measured(
    request: pytest.FixtureRequest,
    tiny_suite_folder: Path,
    registry: Registry,
    notes: Notes,
    tmp_path_factory: pytest.TempPathFactory,
) -> RunResult:
    """All bad metrics in one run, beside a good one."""
    names = ["sscd", *asked(request, doubles.metrics.DOUBLES)]
    out = tmp_path_factory.mktemp("bad-metrics")
    return score(tiny_suite_folder, out, registry, notes, metric=names, limit=1, seeds=1)


@pytest.mark.parametrize("name", MITIGATIONS)
def test_a_mitigation(name: str, mitigated: RunResult) -> None:
    expected = MITIGATIONS[name].expected
    found = errors(mitigated, mitigation=name, attack="none")
    if expected is None:
        assert not found
    else:
        [reason] = found
        plugin = MITIGATIONS[name].__module__.replace("doubles.", "bad-")
        assert reason.startswith(f"mitigation {name} (plugin {plugin}): ")
        assert expected in reason
        assert reason in mitigated.failed


@pytest.mark.parametrize("name", doubles.rules.DOUBLES)
def test_a_rule(name: str, mitigated: RunResult) -> None:
    [reason] = errors(mitigated, mitigation=name, attack="none")
    assert str(doubles.rules.DOUBLES[name].expected) in reason


def test_after_bad_mitigations_a_good_one_has_the_row_it_has_alone(
    mitigated: RunResult,
    tiny_suite_folder: Path,
    registry: Registry,
    tmp_path: Path,
) -> None:
    alone = score(
        tiny_suite_folder,
        tmp_path,
        registry,
        Notes(),
        mitigation=[GOOD_MITIGATION],
        limit=2,
        seeds=1,
    )
    for result in (mitigated, alone):
        assert not errors(result, mitigation=GOOD_MITIGATION)
    assert mitigated.entries[-1].digests == alone.entries[-1].digests
    assert mitigated.entries[0].digests == alone.entries[0].digests


def test_the_global_generators_are_named(mitigated: RunResult, notes: Notes) -> None:
    [said] = [text for text in notes.said if "global-generators" in text]
    assert "the global generator of random, numpy, torch" in said


def test_the_global_generators_are_put_back() -> None:
    def drawn() -> tuple[float, ...]:
        return random.random(), np.random.rand(), torch.rand(1).item()

    with fenced_randomness():
        expected = drawn()
    with fenced_randomness() as used:
        assert drawn() == expected
    assert used == ["random", "numpy", "torch"]


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("sets-the-default-dtype", "default number format"),
        ("turns-gradients-off", "gradient mode"),
    ],
)
def test_settings_of_torch_are_put_back_and_named(
    name: str, setting: str, mitigated: RunResult, notes: Notes
) -> None:
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    [said] = [text for text in notes.said if name in text]
    assert f"changes torch's {setting} for the whole process" in said


def test_work_around_the_target_model_is_counted_and_said(
    mitigated: RunResult, notes: Notes
) -> None:
    entry = next(e for e in mitigated.entries if e.mitigation.label == "around-the-model")
    assert entry.work.fit == doubles.mitigations.AroundTheModel.items
    assert any("calls the U-Net around the target model" in text for text in notes.said)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack(name: str, attacked: RunResult) -> None:
    expected = ATTACKS[name].expected
    found = errors(attacked, mitigation="none", attack=name)
    if expected is None:
        assert not found
    else:
        [reason] = found
        plugin = ATTACKS[name].__module__.replace("doubles.", "bad-")
        assert reason.startswith(f"attack {name} (plugin {plugin}): ")
        assert expected in reason
        assert any(expected in failed for failed in attacked.failed)


def test_what_was_yielded_stays_as_it_was(attacked: RunResult) -> None:
    found = attacked.records.parent.rglob("*.b*/trigger.safetensors")
    small = [load_file(path) for path in found if path.parent.name.endswith(".b24")]
    assert small
    assert all(
        bool(value.any())
        for tensors in small
        for name, value in tensors.items()
        if name == "prompt_embeds"
    )


def test_work_is_what_the_model_counted(attacked: RunResult) -> None:
    entry = next(e for e in attacked.entries if e.attack.label == "claims-no-work")
    assert entry.work.search_mean_memorized == doubles.attacks.ClaimsNoWork.items


def test_after_bad_attacks_a_good_one_has_its_row(attacked: RunResult) -> None:
    assert not errors(attacked, attack=GOOD_ATTACK)


@pytest.mark.parametrize("name", doubles.metrics.DOUBLES)
def test_a_metric(name: str, measured: RunResult) -> None:
    [reason] = errors(measured, judge=name)
    assert reason.startswith(f"metric {name} (plugin bad-metrics): ")
    assert str(doubles.metrics.DOUBLES[name].expected) in reason
    assert reason in measured.failed


def test_beside_bad_metrics_a_good_one_has_its_values(measured: RunResult) -> None:
    assert not errors(measured, judge="sscd", mitigation="none")


@pytest.mark.parametrize("name", doubles.classes.DOUBLES)
def test_a_class_is_refused_before_any_work(name: str, registry: Registry) -> None:
    kind, double = doubles.classes.DOUBLES[name]
    with pytest.raises(DoribError) as refusal:
        configure(registry, kind, MethodSpec(name=name))  # type: ignore[arg-type]
    assert double.expected in str(refusal.value)
    assert "plugin bad-classes" in str(refusal.value)


def test_a_run_in_which_a_method_failed_ends_with_exit_code_1(
    tiny_suite_folder: Path,
    tmp_path: Path,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("dorib.host.registry.discover", lambda files=(): registry)
    options = ["--suite", str(tiny_suite_folder), "--out", str(tmp_path), "--limit", "1"]
    with pytest.raises(SystemExit) as ended:
        main(["run", "-m", "explodes", "--metric", "sscd", "--traceback", *options])
    assert ended.value.code == 1
    printed = capfd.readouterr()
    text = " ".join((printed.out + printed.err).split())
    assert "failed: mitigation explodes (plugin bad-mitigations): ZeroDivisionError" in text
    assert "Traceback (most recent call last)" in text


def test_the_users_interrupt_is_not_taken_for_a_plugins(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: object, *arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(doubles.mitigations.Explodes, "fit", interrupted)
    # Ignored where the tests run as a background job.
    given = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            score(tiny_suite_folder, tmp_path, registry, Notes(), mitigation=["explodes"], limit=1)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, given)


def test_a_plugins_interrupt_ends_no_run_where_interrupts_are_ignored(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    given = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        options = {"mitigation": ["interrupts"], "limit": 1, "seeds": 1}
        result = score(tiny_suite_folder, tmp_path, registry, Notes(), **options)
    finally:
        signal.signal(signal.SIGINT, given)
    assert any("KeyboardInterrupt" in reason for reason in result.failed)
