"""Whole runs with every kind of trigger, a rule at every place, and probes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from dorib.config import make_config
from dorib.host.registry import Registry, discover
from dorib.ranking.entries import Entry
from dorib.ranking.records import read_records
from dorib.runner import RunResult, run

KINDS = ("tokens", "stray tokens", "image start", "edit", "embeddings")
PLACES = ("prompt", "embeddings", "noise", "guidance", "weights", "two")
Entries = Mapping[tuple[str, str], Entry]


@pytest.fixture(scope="module")
def registry() -> Registry:
    point = EntryPoint("contract2", "fixtures.contract2", "dorib")
    return discover([*entry_points(group="dorib"), point])


@pytest.fixture(scope="module")
def result(
    tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory, registry: Registry
) -> RunResult:
    return run_in(tmp_path_factory.mktemp("out"), tiny_suite_folder, registry)


def run_in(out: Path, suite: Path, registry: Registry, batch_size: int = 4) -> RunResult:
    config = {
        "suite": str(suite),
        "out": str(out),
        "mitigation": [f"defended:place={place}" for place in PLACES],
        "attack": ["dori", *(f"witness:kind={kind}" for kind in KINDS)],
        "metric": ["sscd"],
        "probe": ["norm"],
        "budgets": [48],
        "seeds": 2,
        "batch_size": batch_size,
    }
    return run(make_config(config), registry)


@pytest.fixture(scope="module")
def entries(result: RunResult) -> Entries:
    return {(entry.mitigation.label, entry.attack.label): entry for entry in result.entries}


def mitigation(place: str) -> str:
    return "defended" if place == "prompt" else f"defended:place={place}"


def attack(kind: str) -> str:
    return "witness" if kind == "tokens" else f"witness:kind={kind}"


def test_nothing_fails(result: RunResult, entries: Entries) -> None:
    assert not result.failed
    assert all(entry.errors == 0 for entry in result.entries)
    assert len(entries) == (2 + len(PLACES)) * (2 + len(KINDS))


def test_what_passes_the_places_by_is_a_bypass(entries: Entries) -> None:
    bypassed = {cell for cell, entry in entries.items() if entry.bypass}
    behind = ("dori", attack("stray tokens"), attack("embeddings"))
    assert bypassed == {(mitigation("prompt"), one) for one in behind}


def test_ids_that_are_a_prompt_are_asked_as_one(result: RunResult) -> None:
    tokens, stray, embeddings = map(attack, ("tokens", "stray tokens", "embeddings"))
    # The rule draws a word for each image, whoever asks in words.
    for one in ("none", mitigation("prompt"), mitigation("noise")):
        assert likeness(result, one, tokens) == likeness(result, one, "none")
    asked = likeness(result, "none", "none")
    assert likeness(result, mitigation("prompt"), "none") != asked
    for behind in (stray, embeddings):
        assert likeness(result, "none", behind) == asked
        assert likeness(result, mitigation("prompt"), behind) == asked


def likeness(result: RunResult, mitigation: str, attack: str) -> dict[tuple[object, object], float]:
    """By sample and seed, how near an image is to the original."""
    return {
        (record.sample, record.seed): round(record.value, 5)
        for record in read_records(result.records)
        if (record.mitigation, record.attack) == (mitigation, attack)
        and record.metric == "sscd_original"
        and record.value is not None
    }


def test_a_search_feels_embeddings_and_neither_noise_nor_guidance(entries: Entries) -> None:
    felt = {place: entries[mitigation(place), "dori"].adaptive for place in PLACES}
    assert felt == {
        "prompt": None,
        "embeddings": True,
        "noise": False,
        "guidance": False,
        "weights": None,
        "two": False,
    }
    assert all(entries[mitigation(place), "none"].adaptive is None for place in PLACES)


def test_a_rules_work_is_stated_for_each_image(entries: Entries) -> None:
    for (label, _), entry in entries.items():
        assert entry.work.rule == (1.0 if label == mitigation("embeddings") else 0.0)


def test_an_image_start_and_an_edit_on_top_draw_other_images(result: RunResult) -> None:
    asked = likeness(result, "none", "none")
    edited = likeness(result, "none", attack("edit"))
    assert edited.keys() == asked.keys()
    assert all(edited[item] != asked[item] for item in asked)
    started = likeness(result, "none", attack("image start"))
    # Every other one has the strength 1: at zero terminal SNR that is noise alone.
    alike = {sample for sample, seed in asked if started[sample, seed] == asked[sample, seed]}
    assert len(alike) == len({sample for sample, _ in asked}) / 2
    # On top of the mitigation's own change of the same weights.
    edit = attack("edit")
    assert likeness(result, mitigation("weights"), edit) != likeness(result, "none", edit)


def test_probes_stand_in_every_entry_of_their_mitigation(
    result: RunResult, entries: Entries
) -> None:
    records = [r for r in read_records(result.records) if r.judge == "norm"]
    samples = len({record.sample for record in records})
    assert len(records) == 2 * samples * (2 + len(PLACES))
    for entry in entries.values():
        probe = entry.probes["norm"]
        assert probe.knows == ("prompt",)
        assert probe.memorized + probe.controls == samples
        assert probe.errors == 0
        assert probe.work == 1.0
        assert 0 <= probe.low <= probe.auc <= probe.high <= 1
        assert probe.oracle_auc == entries["retrain", "none"].probes["norm"].auc


def test_items_do_not_depend_on_their_batch(
    result: RunResult, tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    other = run_in(tmp_path, tiny_suite_folder, registry, batch_size=3)
    for one, two in zip(result.entries, other.entries, strict=True):
        assert one.memorization_rate == two.memorization_rate
        assert one.work == two.work
        assert one.probes.keys() == two.probes.keys()
        for name, probe in one.probes.items():
            assert probe.auc == two.probes[name].auc


def test_a_probe_that_fails_costs_its_own_row(
    tiny_suite_folder: Path, tmp_path: Path, registry: Registry
) -> None:
    config = {
        "suite": str(tiny_suite_folder),
        "out": str(tmp_path),
        "mitigation": ["none"],
        "attack": ["none"],
        "metric": ["sscd"],
        "probe": ["unsure", "norm"],
    }
    result = run(make_config(config), registry)
    assert len(result.failed) == 1
    assert "score returned a number that is not finite" in result.failed[0]
    for entry in result.entries:
        assert entry.probes.keys() == {"norm"}
        assert entry.errors == 0
