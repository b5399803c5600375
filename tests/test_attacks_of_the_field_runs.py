"""A whole run with the field's attacks and probes, under edits of three kinds."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from dorib.config import make_config
from dorib.host.registry import discover
from dorib.ranking.entries import Entry
from dorib.runner import RunResult, run

ATTACKS = (
    "seeds",
    "tokens:judging_pairs=2",
    "tokens:optimiser=projection",
    "inversion",
    "relearn",
    "relearn:on=others",
    "relearn:on=unrelated",
    "prompt-walk",
    "onlooker",
)
MITIGATIONS = ("wanda:scope=per_sample,sparsity=0.1", "prompt-filter")
PROBES = ("loss-gap:pairs=4", "clid:pairs=4", "magnitude", "one-step")
Entries = Mapping[tuple[str, str], Entry]


@pytest.fixture(scope="module")
def result(tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    point = EntryPoint("onlooking", "fixtures.onlooking", "dorib")
    config = {
        "suite": str(tiny_suite_folder),
        "out": str(tmp_path_factory.mktemp("out")),
        "mitigation": list(MITIGATIONS),
        "attack": list(ATTACKS),
        "metric": ["sscd"],
        "probe": list(PROBES),
        "budgets": [24],
        "limit": 1,
        "seeds": 1,
    }
    return run(make_config(config), discover([*entry_points(group="dorib"), point]))


@pytest.fixture(scope="module")
def entries(result: RunResult) -> Entries:
    return {(entry.mitigation.label, entry.attack.label): entry for entry in result.entries}


def test_nothing_fails(result: RunResult, entries: Entries) -> None:
    assert not result.failed
    assert len(entries) == (2 + len(MITIGATIONS)) * (1 + len(ATTACKS))
    assert all(entry.errors == 0 for entry in entries.values())


def test_the_threat_models_are_stated(entries: Entries) -> None:
    blind = ("seeds", "prompt-walk", "onlooker", "none")
    for (_, attack), entry in entries.items():
        assert ("original image" in entry.knows) == (attack not in blind)


def test_whoever_asks_in_words_bypasses_no_filter(entries: Entries) -> None:
    bypassed = {attack for (m, attack), entry in entries.items() if entry.bypass}
    assert bypassed == {"inversion"}
    felt = {a: e.adaptive for (m, a), e in entries.items() if m == "prompt-filter"}
    assert felt["seeds"] and felt["prompt-walk"]
    assert felt["relearn"] is False and felt["tokens:judging_pairs=2"] is False


def test_every_probe_stands_in_every_entry(entries: Entries) -> None:
    for entry in entries.values():
        assert entry.probes.keys() == set(PROBES)
        assert all(0 <= probe.auc <= 1 for probe in entry.probes.values())
        assert entry.probes["loss-gap:pairs=4"].work == 4
        assert entry.probes["one-step"].knows == ("prompt",)
