"""A session: the verbs of a run one at a time, through the store that a run uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from dorib import (
    REPLICATES,
    Advance,
    DoribError,
    MethodSpec,
    RunConfig,
    Session,
    TargetModel,
    checked,
    runner,
)
from dorib.host.registry import discover


class Heard:
    """A reporter that remembers which verbs had work to do."""

    def __init__(self) -> None:
        self.verbs: list[str] = []

    @contextmanager
    def verb(self, name: str, subject: str, total: int) -> Iterator[Advance]:
        self.verbs.append(f"{name} {subject}")
        yield lambda units: None

    def note(self, text: str) -> None:
        assert text == "random on cpu in float32"

    def failure(self, text: str, error: BaseException) -> None:
        raise AssertionError(text)


@pytest.fixture
def config(tiny_suite_folder: Path, tmp_path: Path) -> RunConfig:
    small = {"limit": 1, "seeds": 2, "budgets": [24], "attack": ["dori"], "metric": ["sscd"]}
    options = {"suite": str(tiny_suite_folder), "out": tmp_path, **small}
    return checked(RunConfig, options, "test")


def test_a_run_finds_what_a_session_made(config: RunConfig) -> None:
    session = Session.open(config)
    assert (session.profile.seeds, session.profile.budgets) == (2, (24,))
    none = session.configure("mitigation", MethodSpec(name="none"))
    [dori] = session.configure_all("attack", config.attack)
    [sscd] = session.configure_all("metric", config.metric)
    session.prepare(sscd)
    subjects = [*session.memorized, *session.controls]
    mitigated = session.mitigate(none, subjects)
    attacked = session.attack(mitigated, dori, subjects)
    records = session.judge(mitigated, attacked, sscd, subjects)
    assert {record.sample for record in records} == {subject.id for subject in subjects}
    assert sum(record.metric == REPLICATES for record in records) == 2 * len(subjects)
    assert not any(record.error for record in records)

    heard = Heard()
    result = runner.run(config, discover(), heard)
    assert not result.entries[1].errors
    searched = [verb for verb in heard.verbs if verb.startswith("attack")]
    assert "attack none x dori" not in searched
    assert "attack none x none" in searched


def test_another_root_seed_shares_the_model_alone(config: RunConfig) -> None:
    session = Session.open(config)
    other = session.at_root_seed(5, Heard())
    assert other.model is session.model
    assert other.seeds.integer("any") != session.seeds.integer("any")
    assert other.model_key != session.model_key
    assert repr(other) == "Session(random, test, root seed 5)"


def test_a_wrong_suite_or_method_is_refused(config: RunConfig) -> None:
    with pytest.raises(DoribError, match="unknown suite 'nosuch'"):
        Session.open(config.model_copy(update={"suite": "nosuch"}))
    with pytest.raises(DoribError, match="unknown attack 'nosuch'"):
        Session.open(config).configure("attack", MethodSpec(name="nosuch"))


def test_a_linear_layer_is_found_by_the_name_that_edits_use(tiny_model: TargetModel) -> None:
    for name, layer in tiny_model.cross_attention_value_layers().items():
        assert tiny_model.linear_layer(name) is layer
        with pytest.raises(DoribError, match="is no linear layer here"):
            tiny_model.linear_layer(name.rpartition(".")[0])
    with pytest.raises(DoribError, match="has no layer nowhere"):
        tiny_model.linear_layer("nowhere")
    assert isinstance(layer, torch.nn.Linear)
