"""Of an attack's restarts the trigger of lowest loss is kept; what is not finite wins nothing."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from dorib.config import make_config
from dorib.host.configure import configure_all
from dorib.host.registry import GROUP, discover
from dorib.store.store import Store
from dorib.suites.suite import Suite
from dorib.verbs.attack import attack
from dorib.verbs.context import RunContext
from dorib.verbs.mitigate import mitigate
from fixtures.diverging import DivergingAttack

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ((3.0, 1.0, 2.0), 1),
        ((1.0, 1.0), 0),
        ((NAN, 5.0), 1),
        ((5.0, NAN), 0),
        ((NAN, 5.0, NAN, 4.0, NAN), 3),
        ((-INF, 0.5), 1),
        ((None, 7.0), 1),
        ((NAN, NAN), 0),
    ],
)
def test_the_finite_loss_that_is_lowest_wins(
    losses: tuple[float | None, ...],
    kept: int,
    tiny_suite_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(DivergingAttack, "losses", losses)
    plugin = EntryPoint("diverging", "fixtures.diverging", GROUP)
    registry = discover([*entry_points(group=GROUP), plugin])
    suite, config = Suite.load(tiny_suite_folder), make_config({"attack": ["diverging"]})
    context = RunContext(
        suite, config, suite.manifest.quick, Store(tmp_path / "store"), registry=registry
    )
    (nothing,) = configure_all(registry, "mitigation", [], first=["none"])
    (method,) = configure_all(registry, "attack", config.attack)
    subjects = context.memorized
    found = attack(context, mitigate(context, nothing, subjects), method, subjects)
    assert not found.failures
    for subject in subjects:
        for budget in found.budgets:
            assert found.trigger(subject, budget).restart == kept
