"""Transfer: what was found on the unmitigated model, handed to the mitigated one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest
import torch

from dorib import DoribError, Ledger, MethodSpec, Seeds, Target, TargetModel, Trigger
from dorib.config import make_config
from dorib.host.configure import configure
from dorib.host.registry import Registry, discover
from dorib.reporting import Advance, Silent
from dorib.runner import RunResult, run
from dorib_transfer import TransferParams
from dorib_transfer.attack import Transfer


class Listening(Silent):
    """Remembers which verbs had work to do."""

    def __init__(self) -> None:
        self.verbs: list[tuple[str, str]] = []

    @contextmanager
    def verb(self, name: str, subject: str, total: int) -> Iterator[Advance]:
        self.verbs.append((name, subject))
        with super().verb(name, subject, total) as advance:
            yield advance


def run_on(
    suite: Path, out: Path, reporter: Listening, registry: Registry | None = None, **options: Any
) -> RunResult:
    defaults = {"mitigation": ["wanda:sparsity=0.1"], "attack": ["transfer"], "metric": ["sscd"]}
    config = {"suite": str(suite), "out": str(out), **defaults, **options}
    return run(make_config(config), registry or discover(), reporter)


@pytest.fixture(scope="module")
def listening() -> Listening:
    return Listening()


@pytest.fixture(scope="module")
def result(
    tiny_suite_folder: Path, tmp_path_factory: pytest.TempPathFactory, listening: Listening
) -> RunResult:
    out = tmp_path_factory.mktemp("transfer")
    return run_on(tiny_suite_folder, out, listening, attack=["transfer", "dori"])


def test_it_hands_on_what_was_found(tiny_model: TargetModel) -> None:
    original = torch.zeros(3, tiny_model.sampling.height, tiny_model.sampling.width)
    found = {
        budget: Trigger("a", budget, embeddings={"prompt_embeds": torch.ones(2)}, work=budget - 1)
        for budget in (24, 48)
    }
    target = Target("a", 0, "a tree", original, found=found)
    ledger = Ledger()
    transfer = Transfer(TransferParams())
    with tiny_model.counting(ledger):
        triggers = list(transfer.search(tiny_model, [target], (24, 48), Seeds(), ledger))
    assert triggers == [found[24], found[48]]
    assert ledger.work == 0


def test_on_the_unmitigated_model_it_equals_its_source(result: RunResult) -> None:
    entries = {(entry.mitigation.label, entry.attack.label): entry for entry in result.entries}
    ours, source = entries["none", "transfer"], entries["none", "dori"]
    assert ours.curve == source.curve
    assert ours.work == source.work
    assert ours.work_to_break == source.work_to_break
    assert ours.digests.triggers == source.digests.triggers
    assert ours.digests.images == source.digests.images


def test_on_a_mitigated_model_the_triggers_are_the_unmitigated_ones(result: RunResult) -> None:
    entries = {(entry.mitigation.label, entry.attack.label): entry for entry in result.entries}
    wanda = "wanda:sparsity=0.1"
    ours, searched = entries[wanda, "transfer"], entries[wanda, "dori"]
    assert ours.digests.triggers == entries["none", "dori"].digests.triggers
    assert ours.digests.triggers != searched.digests.triggers
    assert ours.digests.images != entries["none", "dori"].digests.images
    assert ours.work.search_mean_memorized == searched.work.search_mean_memorized == 48
    assert ours.errors == 0
    assert "gradients" not in ours.knows


def test_the_source_searches_the_unmitigated_model_once(
    result: RunResult, listening: Listening
) -> None:
    searches = [subject for verb, subject in listening.verbs if verb == "attack"]
    assert searches.count("none x dori") == 1
    assert searches.index("none x dori") < searches.index("none x transfer")


def test_the_source_need_not_be_in_the_run(tiny_suite_folder: Path, tmp_path: Path) -> None:
    source = "dori:pairs=4,start=other"
    options: dict[str, Any] = {
        "attack": [f"transfer:source=({source})"],
        "mitigation": [],
        "limit": 1,
    }
    result = run_on(tiny_suite_folder, tmp_path, listening := Listening(), **options)
    labels = {entry.attack.label for entry in result.entries}
    assert labels == {"none", f"transfer:source=({source})"}
    assert ("attack", f"none x {source}") in listening.verbs
    assert run_on(tiny_suite_folder, tmp_path, Listening(), **options).reused


def test_a_source_that_fails_leaves_its_reason(tiny_suite_folder: Path, tmp_path: Path) -> None:
    crashing = EntryPoint("crashing", "fixtures.crashing", "dorib")
    registry = discover([*entry_points(group="dorib"), crashing])
    result = run_on(
        tiny_suite_folder,
        tmp_path,
        Listening(),
        registry,
        attack=["transfer:source=crashing"],
        mitigation=[],
        limit=1,
    )
    for entry in result.entries:
        assert (entry.errors > 0) == (entry.attack.name == "transfer")
    lines = [json.loads(line) for line in result.records.read_text().splitlines()]
    reasons = {line["error"] for line in lines if line["attack"] != "none"}
    assert len(reasons) == 1
    assert "the search exploded" in reasons.pop()


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("none", "none searches nothing, so there is nothing to replay"),
        ("transfer", "builds on itself"),
        ("no-such-attack", "unknown attack 'no-such-attack'"),
        ("(dori:pairs=0)", "pairs"),
    ],
)
def test_a_source_that_cannot_be_replayed_is_refused_before_any_work(
    tiny_suite_folder: Path, tmp_path: Path, source: str, complaint: str
) -> None:
    listening = Listening()
    with pytest.raises(DoribError, match=complaint):
        run_on(tiny_suite_folder, tmp_path, listening, attack=[f"transfer:source={source}"])
    assert listening.verbs == []


def test_another_source_is_another_attack() -> None:
    registry = discover()
    fingerprints = [
        configure(registry, "attack", MethodSpec.parse(text)).fingerprint
        for text in ("transfer", "transfer:source=dori", "transfer:source=dori:pairs=4")
    ]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
