"""Of an attack's restarts the one of lowest search loss is judged."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

from dorib.config import make_config
from dorib.contracts.specs import MethodSpec
from dorib.host.configure import configure
from dorib.host.registry import GROUP, discover
from dorib.store.store import Store
from dorib.suites.suite import Suite
from dorib.verbs.attack import attack
from dorib.verbs.context import RunContext
from dorib.verbs.mitigate import mitigate
from fixtures.restarting import LOSSES


def test_the_restart_of_lowest_loss_is_kept(
    tiny_suite_folder: Path, built_in_plugins: list[EntryPoint], tmp_path: Path
) -> None:
    plugin = EntryPoint("restarting", "fixtures.restarting", GROUP)
    registry = discover([*built_in_plugins, plugin])
    suite = Suite.load(tiny_suite_folder)
    config = make_config({"suite": str(tiny_suite_folder), "out": str(tmp_path)})
    context = RunContext(
        suite, config, suite.manifest.quick, Store(tmp_path / "store"), registry=registry
    )
    nothing = configure(registry, "mitigation", MethodSpec(name="none"))
    method = configure(registry, "attack", MethodSpec(name="restarting"))
    mitigated = mitigate(context, nothing, context.memorized)
    attacked = attack(context, mitigated, method, context.memorized)
    for subject in context.memorized:
        for budget in attacked.budgets:
            kept = attacked.trigger(subject, budget)
            assert kept.loss == 0.5
            assert kept.restart == LOSSES.index(0.5)
            assert kept.prompt == "prompt 2"
